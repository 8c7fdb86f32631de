"""``evok``: what an owner does besides running the service."""

from __future__ import annotations

import argparse
import os
import pwd
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from evok_twisted import capturing, certificates, operate, past, rawregisters, remote, scan
from evok_twisted import config as cfg
from evok_twisted.core import issuing
from evok_twisted.core.identity import ROLES, Scopes
from evok_twisted.core.tokens import Token, changing, load, networks_of, scopes_of, shown_time
from evok_twisted.errors import ConfigError
from evok_twisted.hosts import as_address
from evok_twisted.problems import Problems
from evok_twisted.spans import seconds

#: Exit status for what could not be done; of a command line that cannot be understood it is 2, by argparse.
FAILED = 1

#: Where the panel is, on each of our servers.
PANEL = "/panel/"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for.

    :raises SystemExit: with an exit status, where it could not be done.
    """
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read has read enough
        raise SystemExit(FAILED) from None
    except (ConfigError, OSError, ValueError, remote.Remote) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        _fail(f"{where}{getattr(error, 'strerror', None) or error}")


def _fail(message: str) -> NoReturn:
    print(f"evok: {message}", file=sys.stderr)
    raise SystemExit(FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evok", description="Looks after the service evok on this unit.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    parsers = list(_of_tokens(commands))
    link = commands.add_parser("link", help="make an address that logs a browser in; it is of use once, for 10 minutes")
    link.add_argument("--name", default="link", help="who will have used it, for the log; by default: %(default)s")
    link.add_argument("--role", choices=ROLES[1:], default="admin", help="by default: %(default)s")
    link.add_argument("--url", type=_url, help="how browsers reach the service; by default as the configuration says")
    link.set_defaults(run=_link)

    certificate = commands.add_parser("certificate", help="make a certificate for https, signed by itself")
    certificate.add_argument(
        "--name",
        dest="names",
        action="append",
        default=[],
        metavar="HOST",
        help="a name or an address by which the unit is called, besides those that it knows; may be repeated",
    )
    certificate.add_argument("--force", action="store_true", help="in place of the one that is there")
    certificate.set_defaults(run=_certificate)

    check = commands.add_parser(
        "check", help="say what the configuration comes down to, or everything that is wrong in it"
    )
    check.set_defaults(run=_check)

    default = os.environ.get("EVOK_CONFIG", "/etc/evok")
    asking = operate.add(
        commands, [past.add(commands), *rawregisters.add(commands), scan.add(commands), capturing.add(commands)]
    )
    for one in asking:
        one.set_defaults(run=_operate)
    for one in (*parsers, link, certificate, check, *asking):
        one.add_argument("--config", "-c", type=Path, default=default, metavar="PATH", help=f"by default {default}")
    return parser


def _of_tokens(commands: Any) -> Iterator[argparse.ArgumentParser]:
    """The parsers of ``evok token``."""
    token = commands.add_parser("token", help="make, list and revoke tokens, by which clients say who they are")
    actions = token.add_subparsers(title="commands", required=True, metavar="COMMAND")

    create = actions.add_parser("create", help="make a token; it is printed once, and kept nowhere")
    create.add_argument("name", metavar="NAME", help="whose it is, for the log: nodered, panel, anna")
    create.add_argument("--role", choices=ROLES[1:], required=True, help="what it may do")
    create.add_argument(
        "--write",
        action="append",
        metavar="PATTERN",
        help="it may set this only: a kind, or a kind and circuits, as ro or 'do/2_*'; may be repeated",
    )
    create.add_argument(
        "--from",
        dest="networks",
        action="append",
        default=[],
        metavar="NETWORK",
        help="it is taken from here only: 192.168.1.20 or 192.168.1.0/24; may be repeated",
    )
    create.add_argument("--expires", type=_duration, metavar="TIME", help="for how long it is of use: 12h, 30d, 1y")
    create.set_defaults(run=_create)

    listing = actions.add_parser("list", help="list the tokens")
    listing.set_defaults(run=_list)

    revoke = actions.add_parser("revoke", help="make a token of no use, at once")
    revoke.add_argument("which", metavar="ID|NAME", help="its id or its name, as in the list")
    revoke.set_defaults(run=_revoke)
    yield from (create, listing, revoke)


def _duration(text: str) -> float:
    if not re.fullmatch(r"[1-9][0-9]{0,4}[hdwy]", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number and h, d, w or y, as 30d")
    return float(seconds(text))


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+/?", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an address such as https://plc.example:8443")
    return text.rstrip("/")


def _operate(given: argparse.Namespace) -> None:
    url = given.url
    if url is None:
        try:
            url = remote.address_of(_apis(given.config))
        except (ConfigError, OSError):
            url = remote.address_of(cfg.Apis())  # it may not be ours to read
    status = operate.run(given, url)
    if status:
        raise SystemExit(status)


def _check(given: argparse.Namespace) -> None:
    """As ``twistd evok --check``, in whose place this process is then."""
    twistd = Path(sys.executable).with_name("twistd")
    os.execv(twistd, [str(twistd), "evok", "--check", "--config", str(given.config)])  # noqa: S606 -- ours


def _apis(config: Path) -> cfg.Apis:
    """What the configuration says of clients.

    :raises ConfigError: it cannot be used.
    """
    problems = Problems()
    settings = cfg.load(config, (), problems, {})
    fatal = [problem for problem in problems.found if problem.fatal]
    if settings is None or fatal:
        raise ConfigError(str(fatal[0]).removeprefix("error: "))
    return settings.apis


def _file(config: Path) -> Path:
    """Where the tokens are."""
    return _file_of(config, _apis(config))


def _file_of(config: Path, apis: cfg.Apis) -> Path:
    access = apis.access
    if access is None:
        print(f"evok: {config} has no apis.access: nobody is asked for a token until it has", file=sys.stderr)
    return Path((access or cfg.AccessSettings()).tokens)


def _certificate(given: argparse.Namespace) -> None:
    configured = _apis(given.config).tls
    tls, base = configured or cfg.TlsSettings(), cfg.find(given.config).parent
    certificate, key = base / tls.certificate, base / tls.key
    for file in (certificate, key):
        if file.exists() and not given.force:
            raise ValueError(f"{file} is there already; --force makes another in its place")
    names = [*dict.fromkeys([socket.gethostname(), "localhost", "127.0.0.1", "::1", *_addresses(), *given.names])]
    certificates.make(certificate, key, names, _service_user())
    print(f"{certificate} is for {', '.join(names)}", file=sys.stderr)
    if configured is None:
        print(f"evok: {given.config} has no apis.tls: https is not served until it has", file=sys.stderr)


def _addresses() -> list[str]:
    """The addresses of this machine, as far as its own name tells them."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]).partition("%")[0] for *_, address in found]


def _service_user() -> tuple[int, int] | None:
    """Whose the files are to be: root writes as the service's user, who has to read them."""
    try:
        user = pwd.getpwnam("evok")
    except KeyError:
        return None
    return (user.pw_uid, user.pw_gid) if os.geteuid() == 0 else None


@contextmanager
def _telling(file: Path) -> Iterator[Problems]:
    """Takes what is wrong with a file, and prints it; what makes it of no use is told with its name."""
    problems = Problems()
    try:
        yield problems
    except ConfigError as error:
        raise ConfigError(f"{file} {error}") from None
    finally:
        for problem in problems.found:
            print(problem, file=sys.stderr)


@contextmanager
def _changing(file: Path) -> Iterator[dict[str, Token]]:
    """The tokens, to be changed; those that are long expired are let go."""
    with _telling(file) as problems, changing(file, problems, owned=False) as tokens:
        issuing.tidy(tokens, time.time())
        yield tokens


def _create(given: argparse.Namespace) -> None:
    scopes, networks = scopes_of(given.role, given.write), networks_of(given.networks)
    with _changing(_file(given.config)) as tokens:
        token, text = issuing.create(tokens, given.name, scopes, networks, time.time(), given.expires)
    until = "" if token.expires is None else f", until {shown_time(token.expires)}"
    print(f"token {token.id} of {given.name} ({given.role}){until}; it is not shown again:", file=sys.stderr)
    print(text)


def _list(given: argparse.Namespace) -> None:
    now = time.time()
    rows = [("ID", "NAME", "ROLE", "WRITES", "FROM", "CREATED", "EXPIRES")]
    file = _file(given.config)
    with _telling(file) as problems:
        tokens = load(file, problems, owned=False)
    for token in tokens.values():
        write = token.scopes.write
        expires = "never" if token.expires is None else shown_time(token.expires)
        rows.append(
            (
                token.id,
                token.name,
                token.scopes.role,
                "all" if write is None else " ".join(write) or "nothing",
                " ".join(map(str, token.networks)) or "anywhere",
                shown_time(token.created),
                f"{expires} (expired)" if token.expired(now) else expires,
            )
        )
    operate.print_table(rows)


def _revoke(given: argparse.Namespace) -> None:
    with _changing(_file(given.config)) as tokens:
        found = issuing.revoke(tokens, given.which)
    for token in found:
        print(f"token {token.id} of {token.name} is of no use any more", file=sys.stderr)


def _link(given: argparse.Namespace) -> None:
    apis = _apis(given.config)
    address = given.url or _served_at(apis)
    with _changing(_file_of(given.config, apis)) as tokens:
        token, code = issuing.link(tokens, given.name, Scopes(given.role), time.time())
    until = shown_time(token.expires or 0.0)
    print(f"it logs one browser in as {given.role}, until {until}:", file=sys.stderr)
    print(f"{address}{PANEL}#code={code}")


def _served_at(apis: cfg.Apis) -> str:
    """The address by which browsers reach the service, as far as the configuration tells.

    :raises ValueError: it does not.
    """
    default = f"tcp:{apis.port}:interface={apis.address}"
    for description in (*(apis.tls.listen if apis.tls is not None else ()), *(apis.listen or (default,))):
        found = re.match(r"(tcp6?|ssl):(?:port=)?([0-9]+)", description)
        if found is not None:
            interface = re.search(r":interface=((?:[^:\\]|\\.)*)", description)
            address = interface[1].replace("\\", "") if interface else ""
            known = as_address(address)
            host = socket.gethostname() if not address or (known is not None and known.is_unspecified) else address
            host = f"[{host}]" if ":" in host else host
            return f"{'https' if found[1] == 'ssl' else 'http'}://{host}:{found[2]}"
    raise ValueError("the configuration does not say how browsers reach the service; --url https://... does")
