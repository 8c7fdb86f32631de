"""The fronts that there are, each of which is replaced when what is configured of it changes."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred

from evok_twisted.api.front import Context, Front
from evok_twisted.conditions import stop
from evok_twisted.config import FrontSettings
from evok_twisted.logs import Logger
from evok_twisted.problems import Problems

#: Fronts with their settings, in the order in which they begin.
Wanted = Mapping[Front, FrontSettings]


class _Made(NamedTuple):
    """A front that there is: its settings, what runs for it, and the keys of what it has put where (``_places``)."""

    settings: FrontSettings
    service: IService | None
    keys: tuple[set[Any], ...]


class Fronts(Service):
    """Makes fronts and runs them.

    :param context: what they are made from.
    """

    _log = Logger()

    def __init__(self, context: Context, wanted: Wanted) -> None:
        self._context = context
        #: what fronts put something into: paths, what health tells of, what is counted, what can be asked
        self._places: tuple[MutableMapping[Any, Any], ...] = (
            context.tree,
            context.desks.reports,
            context.desks.meters.families,
            context.desks.questions,
        )
        self._made = {front: self._make(front, settings) for front, settings in wanted.items()}

    def _make(self, front: Front, settings: FrontSettings) -> _Made:
        before = [set(place) for place in self._places]
        service = front.make(self._context, settings)
        keys = tuple(set(place) - kept for place, kept in zip(self._places, before, strict=True))
        return _Made(settings, service, keys)

    def startService(self) -> None:
        super().startService()
        for one in self._made.values():
            if one.service is not None:
                one.service.privilegedStartService()
                one.service.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop_all())

    async def _stop_all(self) -> None:
        for front in reversed(list(self._made)):
            await self._stop(self._made[front])

    async def _stop(self, made: _Made) -> None:
        if made.service is not None and made.service.running:
            await stop(made.service, self._log)

    async def become(self, wanted: Wanted, problems: Problems) -> list[str]:
        """Be what is wanted; a front whose settings do not differ goes on and notices nothing.

        :param problems: what is wrong with their settings is noted here.
        :returns: what has changed, for people.
        """
        changed, before = [], set(self._made)
        self._context = self._context._replace(problems=problems)
        for front, made in tuple(self._made.items()):
            if wanted.get(front) != made.settings:
                del self._made[front]
                await self._stop(made)
                for place, keys in zip(self._places, made.keys, strict=True):
                    for key in keys:
                        place.pop(key, None)
                if front not in wanted:
                    changed.append(f"{front.key} is no more")
        for front, settings in wanted.items():
            if front not in self._made:
                made = self._made[front] = self._make(front, settings)
                changed.append(f"{front.key} has changed" if front in before else f"{front.key} is new")
                if made.service is not None and self.running:
                    made.service.startService()
        return changed
