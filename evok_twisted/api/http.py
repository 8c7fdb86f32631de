"""What every HTTP resource here shares: JSON answers, and how errors look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, ClassVar, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from evok_twisted.api.messages import Failed, encode
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.core.identity import ANONYMOUS, NOTHING, Identity
from evok_twisted.errors import BadValue, EvokError, Forbidden, NotFound, Unauthorized
from evok_twisted.logs import Logger
from evok_twisted.model.kinds import DIALECTS, Dialect


def json(request: Request, body: bytes, status: int = 200) -> bytes:
    """Answer with a JSON body; returns it, for ``render``."""
    if status != 200:
        request.setResponseCode(status)
    headers = request.responseHeaders
    headers.setRawHeaders(b"content-type", [b"application/json"])
    headers.setRawHeaders(b"content-length", [b"%d" % len(body)])
    return body


def failed(request: Request, name: str, message: str, status: int) -> bytes:
    """Answer with an error, by its name."""
    return json(request, failure(name, message), status)


@cache
def our_version() -> str:
    """The version of the package; looking it up reads files."""
    return version("evok-twisted")


def failure_of(error: EvokError) -> bytes:
    """The JSON of what went wrong."""
    return encode(Failed(errors={error.name: error.message}, sent=error.sent))


def failure(name: str, message: str) -> bytes:
    """The JSON of an error, by its name."""
    return encode(Failed(errors={name: message}))


def refused(request: Request, error: EvokError) -> bytes:
    """Answer with what went wrong."""
    if isinstance(error, Unauthorized):
        request.responseHeaders.setRawHeaders(b"www-authenticate", _challenges(request))
    return json(request, failure_of(error), error.status)


def _challenges(request: Request) -> list[bytes]:
    """How to show a token. To Basic a browser would open a window of its own, in the middle of what a page does."""
    of_a_page = request.getHeader(b"sec-fetch-mode") not in (None, b"navigate") or request.getHeader(b"origin")
    return [b'Bearer realm="evok"'] if of_a_page else [b'Bearer realm="evok"', b'Basic realm="evok"']


#: Whose a request is until that is known.
NOBODY = Identity(ANONYMOUS, "", NOTHING)


def identity_of(request: Request, via: str) -> Identity:
    """Whose request it is, as the door found out.

    :param via: what it came through.
    """
    found: Identity = getattr(request, "identity", NOBODY)
    return found._replace(via=via)


def for_admins(identity: Identity, what: str) -> None:
    """Let nobody but admins go on.

    :param what: is for admins, as in ``the log is``.
    :raises Unauthorized: nobody knows who it is.
    :raises Forbidden: somebody else.
    """
    if not identity.scopes.may_read:
        raise Unauthorized("this takes a token, as Authorization: Bearer TOKEN")
    if identity.scopes.role != "admin":
        raise Forbidden(f"{identity}: {what} for the role admin")


def options(request: Request, methods: Iterable[bytes]) -> bytes:
    """Answer OPTIONS, which may be asked of any path, with what it takes."""
    request.setResponseCode(204)
    allowed = b", ".join(methods)
    request.setHeader(b"allow", allowed)
    if request.getHeader(b"origin") is not None:  # a browser asks before it posts JSON from a page of another port
        request.setHeader(b"access-control-allow-methods", allowed)
        request.setHeader(b"access-control-allow-headers", b"Authorization, Content-Type, X-Requested-With")
    return b""


def not_allowed(request: Request, methods: Iterable[bytes]) -> bytes:
    """Answer a method that a path does not take."""
    allowed = b", ".join(methods)
    request.setHeader(b"allow", allowed)
    method = request.method.decode(errors="replace")
    return failed(request, "MethodNotAllowed", f"{method:.20} is not for this path; {allowed.decode()} are", 405)


def path_of(request: Request) -> list[str]:
    """What follows the path of the resource, without a trailing slash."""
    path = [part.decode(errors="replace") for part in request.postpath or ()]
    return path[:-1] if path and path[-1] == "" else path


class Operation(NamedTuple):
    """What a method does at a path, for people and for programs.

    :ivar name: what generated clients call it, behind the first part of the path.
    :ivar answer: the JSON Schema of the answer; of an answer that is text, None.
    :ivar takes: the JSON Schema of what is POSTed.
    :ivar errors: what may be wrong besides what may be wrong with every request.
    :ivar form: whether that may come as a form, too.
    :ivar query: what may stand behind ``?``: what each is, and its JSON Schema.
    :ivar also: other statuses of a success, each with what it means.
    :ivar media: the type of an answer that is no JSON.
    :ivar csv: whether the answer may be CSV, too.
    """

    name: str
    summary: str
    answer: Mapping[str, Any] | None
    takes: Mapping[str, Any] | None = None
    errors: tuple[type[EvokError], ...] = ()
    also: Mapping[int, str] = {}
    form: bool = False
    query: Mapping[str, tuple[str, Mapping[str, Any]]] = {}
    media: str = "text/plain"
    csv: bool = False


#: Methods at a path below that of the resource, such as ``{dev}/{circuit}``; the first that fits is meant.
Paths = Mapping[str, Mapping[bytes, Operation]]


def schema_of(name: str) -> Mapping[str, Any]:
    """A reference to one of the schemas that ``openapi.py`` collects."""
    return {"$ref": f"#/components/schemas/{name}"}


class JsonResource(Resource):
    """A resource that takes some methods at some paths, says which, and fails as all here do."""

    _log = Logger()

    isLeaf = True
    paths: Paths
    _routes: tuple[tuple[tuple[str | None, ...], tuple[bytes, ...]], ...]

    def __init_subclass__(cls) -> None:
        """Prepare the table for ``allowed``: None stands for any part."""
        cls._routes = tuple(
            (
                tuple(None if part[0] == "{" else part for part in template.split("/") if part),
                (*operations, *((b"HEAD",) if b"GET" in operations else ()), b"OPTIONS"),
            )
            for template, operations in cls.paths.items()
        )

    def render(self, request: Request) -> bytes | int:
        try:
            method = request.method
            if method == b"OPTIONS":
                return self._options(request)
            if method not in self.allowed(request):
                return not_allowed(request, self.allowed(request))
            if method == b"POST":
                return self.post(request)
            if method == b"DELETE":
                return self.delete(request)
            return _body(request, self.get(request))
        except EvokError as error:
            return _body(request, refused(request, error))

    def body(self, request: Request) -> bytes:
        """The body of the request."""
        assert request.content is not None
        sent: bytes = request.content.read()
        return sent

    def allowed(self, request: Request) -> tuple[bytes, ...]:
        """The methods that this path takes.

        :raises NotFound: there is no such path.
        """
        path = path_of(request)
        for parts, methods in self._routes:
            if len(parts) == len(path) and all(map(_fits, parts, path)):
                return methods
        there = ", ".join(template for template in self.paths if template) or "nothing below this one"
        raise NotFound(f"there is no such path; there is {there}")

    def get(self, request: Request) -> bytes | int:
        """Answer GET and HEAD; the headers say how long the body is."""
        raise NotImplementedError

    def post(self, request: Request) -> bytes | int:
        """Answer POST."""
        raise NotImplementedError

    def delete(self, request: Request) -> bytes:
        """Answer DELETE."""
        raise NotImplementedError

    def later(self, request: Request, body: Deferred[bytes]) -> int:
        """Answer when ``body`` is there; its failure is told as any other.

        A client that goes away meanwhile cancels nothing.
        """
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)

        def answer(body: bytes) -> None:
            if not gone.called:
                request.write(b"" if request.method == b"HEAD" else body)
                request.finish()

        answered = body.addErrback(self._failed, request).addCallback(answer)
        answered.addErrback(lambda failure: self._log.failure("answer to {uri}", failure, uri=request.uri))
        return NOT_DONE_YET

    def _failed(self, failure: Failure, request: Request) -> bytes:
        if isinstance(failure.value, EvokError):
            return refused(request, failure.value)
        self._log.failure("{uri}", failure, uri=request.uri)
        return failed(request, "EvokError", "something went wrong in the service; its log says more", 500)

    def _options(self, request: Request) -> bytes:
        try:
            return options(request, self.allowed(request))
        except NotFound:
            return options(request, (b"OPTIONS",))


class DeskResource(JsonResource):
    """A resource over a desk: it parses and renders, and decides nothing.

    :cvar via: what it is called where it is told who did something.
    """

    paths = {}
    via: ClassVar[str]

    def __init__(self, desks: Desks) -> None:
        super().__init__()
        self._desks = desks

    def _desk(self, request: Request) -> Desk:
        return self._desks(identity_of(request, self.via), _dialect(request))

    def get(self, request: Request) -> bytes | int:
        return self.show(request, self._desk(request))

    def post(self, request: Request) -> int:
        return self.later(request, Deferred.fromCoroutine(self.answer(request, self._desk(request))))

    def show(self, request: Request, desk: Desk) -> bytes:
        """Answer GET and HEAD."""
        raise NotImplementedError

    async def answer(self, request: Request, desk: Desk) -> bytes:
        """Answer POST."""
        raise NotImplementedError


def _dialect(request: Request) -> Dialect | None:
    """The dialect that a request asks for with ``?dialect=``, if it does.

    :raises BadValue: it is none.
    """
    if b"?" not in request.uri:
        return None
    for asked in request.args.get(b"dialect", ()):
        for dialect in DIALECTS:
            if asked == dialect.encode():
                return dialect
        raise BadValue(f"dialect: got {asked.decode(errors='replace')!r:.60}, expected {' or '.join(DIALECTS)}")
    return None


def _body(request: Request, body: bytes | int) -> bytes | int:
    """What is sent of ``body``, if it is there: to HEAD nothing, or Twisted would log a warning."""
    return b"" if request.method == b"HEAD" and isinstance(body, bytes) else body


def _fits(part: str | None, given: str) -> bool:
    return part is None or part == given


class Nowhere(Resource):
    """Any path that is not there."""

    isLeaf = True

    def __init__(self, paths: Iterable[str]) -> None:
        super().__init__()
        self._paths = paths

    def render(self, request: Request) -> bytes | int:
        if request.method == b"OPTIONS":
            return options(request, (b"OPTIONS",))
        error = NotFound(f"there is nothing here; there is {', '.join(self._paths)}")
        return _body(request, refused(request, error))
