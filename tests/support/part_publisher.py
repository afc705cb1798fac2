"""What a part of a link publishes, and a clock for it, without a broker."""

from twin_edge.sync.engine.delivery import Receipt


class Clock:
    """Monotonic seconds that a test moves on."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


class Published:
    """Takes what a part publishes."""

    def __init__(self):
        self.all = []

    def __call__(self, message, delivery):
        self.all.append((message, delivery))
        return Receipt()

    def take(self):
        """Returns the messages since the last time."""
        taken = [message for message, _ in self.all]
        self.all.clear()
        return taken
