"""What a bag is made of: topics and recorded messages."""

from __future__ import annotations

from dataclasses import dataclass

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    definition       as the bag has it; of format NONE where it has none
    transient_local  its publishers kept their last messages for readers that joined later
    """

    name: str
    msgtype: str
    count: int
    definition: MessageDefinition = NO_DEFINITION
    transient_local: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.msgtype}, {self.count} messages)"


@dataclass(frozen=True)
class Record:
    """One message as it was recorded: `log_ns` is the time of recording, `data` its CDR bytes."""

    topic: str
    log_ns: int
    data: bytes


def one_line(error: BaseException) -> str:
    """An error as one short line."""
    text = " ".join(str(error).split())
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:200]
