"""The certificate that TLS is served with: read again when its files change, and made for units that have none."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from evok_twisted.conditions import Condition
from evok_twisted.errors import ConfigError
from evok_twisted.files import write_file
from evok_twisted.logs import Logger

#: Seconds between two looks at the files, at least.
LOOK = 2.0
#: How long before its end a certificate is warned of.
NOTICE = timedelta(days=14)
#: For how long one that we make holds.
VALIDITY = timedelta(days=3650)


class Pair:
    """A certificate and its key, read from PEM files.

    :raises ConfigError: they cannot be used; the message says which and why.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        try:
            chain = x509.load_pem_x509_certificates(_read(certificate))
        except ValueError:
            raise ConfigError(f"{certificate} has no certificate in PEM format") from None
        try:
            private: Any = load_pem_private_key(_read(key), None)
        except (ValueError, TypeError):
            raise ConfigError(f"{key} has no key in PEM format, or one with a password") from None
        if private.public_key() != chain[0].public_key():
            raise ConfigError(f"the key in {key} is not that of the certificate in {certificate}")
        self.ends = chain[0].not_valid_after_utc
        try:
            found = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self.names: list[str] = found.get_values_for_type(x509.DNSName)
        except x509.ExtensionNotFound:
            self.names = []
        first, *above = [crypto.X509.from_cryptography(one) for one in chain]
        options = CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(private),
            certificate=first,
            extraCertChain=above,
            raiseMinimumTo=TLSVersion.TLSv1_2,
        )
        try:
            self.context: SSL.Context = options.getContext()
        except (SSL.Error, ValueError) as error:
            raise ConfigError(f"{certificate} and {key} cannot be used: {error}") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """Makes connections with what is in the files now; of what cannot be used, with what was there before.

    :raises ConfigError: there is nothing that can be used, to begin with.
    """

    _log = Logger()

    def __init__(self, certificate: Path, key: Path, clock: IReactorTime) -> None:
        self._files = (certificate, key)
        self._clock = clock
        self._seen = self._stamps()
        self._pair = Pair(certificate, key)
        self._looked = clock.seconds()
        self._unusable = Condition(self._log, clock)
        self._why = ""
        self._ending = Condition(self._log, clock)
        self._notice()

    @property
    def names(self) -> Sequence[str]:
        """The host names in it."""
        return self._pair.names

    @property
    def ends(self) -> float:
        """When it does, in seconds of the Unix epoch."""
        return self._pair.ends.timestamp()

    def warnings(self) -> Sequence[str]:
        """What is to be looked after, in sentences."""
        self._look()
        ending = f"the certificate {self._files[0]} ends on {self._ends}"
        return [text for text, lasts in ((self._why, self._unusable.lasts), (ending, self._ending.lasts)) if lasts]

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection, for Twisted."""
        self._look()
        return SSL.Connection(self._pair.context, None)

    def _stamps(self) -> list[object]:
        found: list[object] = []
        for file in self._files:
            try:
                status = os.stat(file)
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append(None)
        return found

    def _look(self) -> None:
        now = self._clock.seconds()
        if now - self._looked < LOOK:
            return
        self._looked = now
        seen = self._stamps()
        if seen != self._seen:
            self._seen = seen
            try:
                self._pair = Pair(*self._files)
            except ConfigError as error:
                self._why = f"{error}; TLS goes on with the certificate from before"
                self._unusable.begin_badly("{why}", why=self._why)
            else:
                self._unusable.end("the certificate can be used again, after {lasted:.1f} s")
                self._log.info(
                    "a new certificate is served: {file}, until {ends}", file=self._files[0], ends=self._ends
                )
        self._notice()

    @property
    def _ends(self) -> str:
        return f"{self._pair.ends:%Y-%m-%d}"

    def _notice(self) -> None:
        if self._pair.ends - datetime.now(UTC) < NOTICE:
            self._ending.begin("the certificate {file} ends on {ends}", file=self._files[0], ends=self._ends)
        else:
            self._ending.end("the certificate {file} holds until {ends}", file=self._files[0], ends=self._ends)


def make(certificate: Path, key: Path, names: Iterable[str], owner: tuple[int, int] | None = None) -> None:
    """Make a certificate that is signed by itself, for ``names`` (hosts and addresses), and its key (P-256).

    :raises OSError: a file cannot be written.
    """
    wanted: list[x509.GeneralName] = []
    for name in names:
        try:
            wanted.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            wanted.append(x509.DNSName(name))
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evok")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the clock of a unit may be behind
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    write_file(key, pem, 0o600, owner)
    write_file(certificate, made.public_bytes(Encoding.PEM).decode(), 0o644, owner)
