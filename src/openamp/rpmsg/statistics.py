"""What a bus counts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BusStatistics"]


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """What went over a bus since it was made; bytes are those of payloads.

    Attributes:
        num_sent: messages handed to the peer.
        bytes_sent: their payloads.
        num_received: messages taken in for an endpoint.
        bytes_received: their payloads.
        num_dropped: messages to addresses that nobody has.
        num_discarded: messages received but unread when their endpoint was closed.
        num_malformed: messages and announcements that broke the format.
        num_kicks: signals sent to the peer.
        num_kicks_suppressed: signals saved because the peer did not want them.
        num_buffer_waits: sends that found no free buffer.
        num_announcements_sent: name service messages sent.
        num_announcements_received: name service messages received.
    """

    num_sent: int = 0
    bytes_sent: int = 0
    num_received: int = 0
    bytes_received: int = 0
    num_dropped: int = 0
    num_discarded: int = 0
    num_malformed: int = 0
    num_kicks: int = 0
    num_kicks_suppressed: int = 0
    num_buffer_waits: int = 0
    num_announcements_sent: int = 0
    num_announcements_received: int = 0
