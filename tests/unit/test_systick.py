"""SysTick against a counter that is ticked one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openamp.platforms.emulated.counter import NEVER
from openamp.platforms.emulated.systick import CLKSOURCE, COUNTFLAG, ENABLE, TICKINT, SysTick

ALL = ENABLE | TICKINT | CLKSOURCE


class Bench:
    """A timer and its clock."""

    def __init__(self) -> None:
        self.now = 0
        self.interrupts: list[int] = []
        self.timer = SysTick(64_000_000, cycles=lambda: self.now, interrupt=lambda: self.interrupts.append(self.now))

    def start(self, reload: int, control: int = ALL) -> None:
        """Does what CMSIS' SysTick_Config does."""
        self.timer.write_reload(reload)
        self.timer.write_value(0)
        self.timer.write_control(control)

    def advance(self, cycles: int) -> None:
        """Lets time pass, stopping at every moment that is due, as the core does."""
        end = self.now + cycles
        while self.timer.due <= end:
            self.now = self.timer.due
            self.timer.advance()
        self.now = end


def test_reset_values() -> None:
    timer = Bench().timer
    assert (timer.read_control(), timer.read_reload(), timer.read_value(), timer.due) == (0, 0, 0, NEVER)
    assert timer.read_calibration() == 639_999


def test_one_interrupt_each_period() -> None:
    bench = Bench()
    bench.start(99)
    bench.advance(1000)
    assert bench.interrupts == list(range(100, 1001, 100))


def test_the_counter_counts_down() -> None:
    bench = Bench()
    bench.start(9)
    values = []
    for _ in range(24):
        values.append(bench.timer.read_value())
        bench.advance(1)
    assert values == [0, *range(9, -1, -1), *range(9, -1, -1), 9, 8, 7]


def test_countflag_clears_when_read() -> None:
    bench = Bench()
    bench.start(9, ENABLE | CLKSOURCE)
    bench.advance(10)
    assert bench.timer.read_control() & COUNTFLAG
    assert not bench.timer.read_control() & COUNTFLAG
    assert bench.interrupts == []
    bench.advance(10)
    bench.timer.write_value(5)
    assert not bench.timer.read_control() & COUNTFLAG
    assert bench.timer.read_value() == 0


def test_the_reference_clock_is_an_eighth() -> None:
    bench = Bench()
    bench.start(9, ENABLE | TICKINT)
    bench.advance(160)
    assert bench.interrupts == [80, 160]


def test_a_stopped_counter_stands_and_goes_on() -> None:
    bench = Bench()
    bench.start(99)
    bench.advance(40)
    bench.timer.write_control(CLKSOURCE)
    assert bench.timer.due == NEVER
    value = bench.timer.read_value()
    bench.advance(1000)
    assert bench.timer.read_value() == value == 60
    bench.timer.write_control(ALL)
    bench.advance(59)
    assert bench.interrupts == []
    bench.advance(1)
    assert bench.interrupts == [bench.now]


def test_a_new_reload_value_counts_from_the_next_reload() -> None:
    bench = Bench()
    bench.start(99)
    bench.advance(50)
    bench.timer.write_reload(9)
    bench.advance(70)
    assert bench.interrupts == [100, 110, 120]


def test_a_reload_value_of_zero_stops_it() -> None:
    bench = Bench()
    bench.start(9)
    bench.timer.write_reload(0)
    bench.advance(5)
    bench.start(0)
    bench.advance(100)
    assert bench.interrupts == []
    assert bench.timer.due == NEVER


def test_periods_that_nobody_looked_at_are_passed_over() -> None:
    bench = Bench()
    bench.start(9)
    bench.now = 1234
    bench.timer.advance()
    assert bench.interrupts == [1234]
    assert bench.timer.due == 1240


class Reference:
    """The counter of the architecture manual, tick by tick."""

    def __init__(self) -> None:
        self.value = self.reload = 0
        self.enabled = self.flag = False

    def tick(self) -> None:
        if self.enabled:
            if self.value == 0:
                self.value = self.reload
            else:
                self.value -= 1
                self.flag |= self.value == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("wait"), st.integers(1, 40)),
            st.tuples(st.just("reload"), st.integers(1, 12)),
            st.tuples(st.just("clear"), st.just(0)),
            st.tuples(st.just("enable"), st.integers(0, 1)),
        ),
        max_size=30,
    )
)
def test_any_sequence_agrees_with_counting(steps: list[tuple[str, int]]) -> None:
    bench, reference = Bench(), Reference()
    for step, argument in steps:
        if step == "wait":
            for _ in range(argument):
                reference.tick()
            bench.advance(argument)
        elif step == "reload":
            bench.timer.write_reload(argument)
            reference.reload = argument
        elif step == "clear":
            bench.timer.write_value(0)
            reference.value, reference.flag = 0, False
        else:
            bench.timer.write_control(CLKSOURCE | argument * (ENABLE | TICKINT))
            reference.enabled = bool(argument)
        assert bench.timer.read_value() == reference.value
        assert bool(bench.timer.read_control() & COUNTFLAG) == reference.flag
        reference.flag = False
