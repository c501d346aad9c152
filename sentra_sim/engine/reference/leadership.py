"""Who leads a shard: the controller's elections, clean and unclean ones, and what they cost."""

from __future__ import annotations

from sentra_sim.engine.reference.fetches import ConsumerFetches
from sentra_sim.engine.reference.followers import Followers
from sentra_sim.engine.reference.shard import Shard
from sentra_sim.engine.trace import LOST


class Leadership:
    """What happens to a shard when brokers go and come."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.followers = Followers(shard, self._caught_up)

    def lose(self, number: int, *, serves: bool) -> None:
        """A replica is cut off from the others; one that does not serve clients either takes its requests along."""
        if self.shard.leader != number:
            self.followers.fall_behind(number)
        elif serves:
            for other in self.shard.replicas:
                if other != number:
                    self.followers.fall_behind(other)
        else:
            self.followers.fall_behind(number)
            self._stop()

    def fence(self, number: int) -> None:
        """The controller takes a replica for dead: another one leads, or it is in sync no more."""
        if self.shard.leader != number:
            self.followers.shrink(number)
            return
        self._stop()
        self._elect(self._candidate())
        if self.shard.leader >= 0:
            self.shard.in_sync.discard(number)

    def rejoin(self, number: int) -> None:
        """A replica reaches the others again."""
        if self.shard.leader < 0:
            self._elect(self._candidate())
        elif self.shard.leader == number and self.shard.stopped:
            self._elect(number)
        else:
            self.followers.bring_up()

    def _stop(self) -> None:
        self.shard.stop()
        self.followers.stop()

    def _candidate(self) -> int:
        shard = self.shard
        alive = [number for number in shard.replicas if shard.brokers[number].talking]
        in_sync = [number for number in alive if number in shard.in_sync]
        if in_sync:
            return in_sync[0]
        return alive[0] if alive and shard.spec.unclean_election else -1

    def _elect(self, number: int) -> None:
        """Makes a replica the leader; what was acknowledged and it does not have is lost, what it has counts as committed."""
        shard = self.shard
        shard.leader = number
        if number < 0:
            return
        shard.stopped = False
        clean = number in shard.in_sync
        if not clean:
            shard.in_sync = {number}
        self.followers.behind.pop(number, None)
        for request in shard.open:
            if number not in request.have:
                shard.lose(request)
            elif shard.spec.high_watermark:
                shard.offer(request)
        shard.open.clear()
        held, shard.held = shard.held, []
        for request in held:
            if not clean and number not in request.have:
                shard.lose(request)
            elif not request.lost:
                shard.offer(request)
        if shard.around.consumer_fetches is not None:
            self._offer_again(shard.around.consumer_fetches, clean=clean)
        self.followers.bring_up()

    def _offer_again(self, fetches: ConsumerFetches, *, clean: bool) -> None:
        """Lets what no leader was there for be fetched from the new one, unless that does not have it."""
        shard = self.shard
        unfetched, shard.unfetched = shard.unfetched, []
        for request, _ in unfetched:
            if not clean and shard.leader not in request.have and not request.lost:
                shard.lose(request)
        fetches.offer([(request, frame) for request, frame in unfetched if frame.outcome != LOST], shard.leader)

    def _caught_up(self, number: int) -> None:
        if number == self.shard.replicas[0] and number != self.shard.leader:
            self.shard.world.after(self.shard.spec.preferred_election_s, self._prefer)

    def _prefer(self) -> None:
        """Gives the leadership back to the first replica."""
        shard, first = self.shard, self.shard.replicas[0]
        if first == shard.leader or first not in shard.in_sync or not shard.reaches(first):
            return
        self._stop()
        self._elect(first)
