"""Matrix multiplication: the host sends two matrices in one message, the remote answers with their product.

As OpenAMP's matrix_multiply (the host) and matrix_multiplyd (the remote), on `rpmsg-openamp-demo-channel`.
"""

from __future__ import annotations

import random
import time
from struct import Struct
from typing import Final, NamedTuple

from openamp.rpmsg import Bus
from openamp.samples.common import DEMO_SERVICE, Mismatches, Result, Served, end_remote
from openamp.server import Server

__all__ = ["MATRIX", "Matrix", "host", "remote"]

MAX_SIZE: Final = 6
_MASK = 0xFFFF_FFFF


class Matrix(NamedTuple):
    """A square matrix of unsigned 32-bit numbers, at most 6 by 6: `struct _matrix`, 148 bytes, little-endian.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | size | rows, and columns |
    | 4 | 144 | elements | 6 rows of 6 numbers; the first `size` of them count |
    """

    size: int
    elements: tuple[int, ...]

    @classmethod
    def random(cls, source: random.Random, size: int = MAX_SIZE) -> Matrix:
        """Returns a matrix of digits, as the C sample makes it."""
        inside = [row < size and column < size for row in range(MAX_SIZE) for column in range(MAX_SIZE)]
        return cls(size, tuple(source.randrange(10) if one else 0 for one in inside))

    @classmethod
    def parse(cls, data: bytes) -> Matrix:
        """Reads 148 bytes."""
        size, *elements = MATRIX.unpack(data)
        return cls(size, tuple(elements))

    def build(self) -> bytes:
        """Returns the 148 bytes."""
        return MATRIX.pack(self.size, *self.elements)

    def __matmul__(self, other: Matrix) -> Matrix:
        elements = [0] * (MAX_SIZE * MAX_SIZE)
        for row in range(self.size):
            for column in range(self.size):
                products = (
                    self.elements[row * MAX_SIZE + i] * other.elements[i * MAX_SIZE + column] for i in range(self.size)
                )
                elements[row * MAX_SIZE + column] = sum(products) & _MASK
        return Matrix(self.size, tuple(elements))


MATRIX: Final = Struct("<I36I")


def host(
    bus: Bus, *, count: int = 200, seed: int | None = None, timeout: float | None = 5.0, grace: float = 2.0
) -> Result:
    """Has random matrices multiplied and compares the products, and ends the remote.

    Args:
        bus: the host's.
        count: products to ask for.
        seed: of the random numbers, for the same matrices again.
        timeout: seconds to wait for the remote's announcement, and for each answer.
        grace: seconds that the remote may take to end; 0 leaves it alone.
    """
    source = random.Random(seed)
    wrong = Mismatches()
    with bus.create_endpoint(DEMO_SERVICE, timeout=timeout) as endpoint:
        begin = time.perf_counter()
        for number in range(count):
            left, right = Matrix.random(source), Matrix.random(source)
            endpoint.send(left.build() + right.build(), timeout=timeout)
            wrong.check(number, (left @ right).build(), endpoint.receive(timeout=timeout))
        seconds = time.perf_counter() - begin
        ended = end_remote(bus, endpoint, grace=grace)
    return Result.of(count, 3 * count * MATRIX.size, seconds, wrong, ended)


def remote(bus: Bus) -> Served:
    """Multiplies until the shutdown message comes, or the host ends us; what is no pair of matrices gets no answer."""
    server = Server(bus)

    @server.service(DEMO_SERVICE)
    def multiply(message: bytes) -> bytes | None:
        if len(message) != 2 * MATRIX.size:
            return None
        left, right = Matrix.parse(message[: MATRIX.size]), Matrix.parse(message[MATRIX.size :])
        if left.size != right.size or left.size > MAX_SIZE:
            return None
        return (left @ right).build()

    ended = server.serve_forever()
    return Served(server.num_requests, ended)
