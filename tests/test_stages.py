"""Stages: threads before and behind the caller's, and how they end."""

import threading
import time

import pytest

from ume_r1_rag.ingest.stages import Ahead, AtOnce, Behind, BusyClock


def threads():
    return {thread.name for thread in threading.enumerate()}


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_ahead_makes_a_bounded_number_of_items_in_its_own_thread():
    made = []

    def items():
        for number in range(20):
            made.append((number, threading.current_thread().name))
            yield number

    with Ahead(items(), 2, "reader") as ahead:
        wait_until(lambda: len(made) == 3)
        time.sleep(0.05)
        assert len(made) == 3, "two that wait, and one in the making"
        got = []
        for number in ahead:
            got.append(number)
            assert len(made) <= number + 4
    assert got == list(range(20))
    assert {name for _, name in made} == {"reader"}
    assert "reader" not in threads()


def test_ahead_raises_where_it_is_iterated_after_the_items_before():
    def items():
        yield 1
        raise ValueError("broken")

    got = []
    with Ahead(items(), 5, "reader") as ahead, pytest.raises(ValueError, match="broken"):
        got.extend(ahead)
    assert got == [1]
    assert "reader" not in threads()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_ahead_ends_with_its_context_and_closes_the_generator_in_its_thread(error):
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    def run():
        with Ahead(items(), 2, "reader") as ahead:
            next(iter(ahead))
            raise error

    with pytest.raises(error):
        run()
    assert closed == ["reader"]
    assert "reader" not in threads()


def test_behind_works_in_order_in_its_own_thread_and_waits_for_room():
    gate, begun, done = threading.Semaphore(0), [], []

    def work(item):
        begun.append((item, threading.current_thread().name))
        gate.acquire()
        done.append(item)
        return item * 10

    with Behind(work, 1, "writer") as behind:
        behind.put(1)
        wait_until(lambda: begun)
        behind.put(2)
        blocked = threading.Thread(target=behind.put, args=[3])
        blocked.start()
        blocked.join(0.05)
        assert blocked.is_alive(), "one in work and one that waits are all there is room for"
        gate.release(3)
        blocked.join()
    assert list(behind.outcomes()) == [10, 20, 30]
    assert list(behind.outcomes()) == []
    assert begun == [(1, "writer"), (2, "writer"), (3, "writer")]
    assert "writer" not in threads()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_behind_finishes_what_it_was_given_when_the_caller_fails(error):
    done = []

    def work(item):
        time.sleep(0.02)
        done.append(item)

    def run():
        with Behind(work, 5, "writer") as behind:
            for item in range(3):
                behind.put(item)
            raise error

    with pytest.raises(error):
        run()
    assert done == [0, 1, 2]
    assert "writer" not in threads()


def test_behind_raises_at_the_next_put_and_does_nothing_more():
    done = []

    def work(item):
        done.append(item)
        raise OSError("disk full")

    def run():
        with Behind(work, 1, "writer") as behind:
            while True:
                behind.put(len(done))

    with pytest.raises(OSError, match="disk full"):
        run()
    assert done == [0]
    assert "writer" not in threads()


def test_behind_raises_when_it_is_left_at_the_latest():
    def work(item):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Behind(work, 1, "writer") as behind:
        behind.put(1)


def test_the_callers_own_error_is_the_one_that_is_raised():
    def work(item):
        raise OSError("disk full")

    def run():
        with Behind(work, 1, "writer") as behind:
            behind.put(1)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run()


def test_at_once_works_on_so_many_at_a_time_and_keeps_their_order():
    busy, most = set(), []
    met = threading.Barrier(3)

    def work(number):
        busy.add(number)
        most.append(len(busy))
        met.wait(20)
        busy.discard(number)
        return number * 10

    with AtOnce(work, range(12), 3, "worker") as outcomes:
        assert list(outcomes) == [number * 10 for number in range(12)]
    assert max(most) == 3
    wait_until(lambda: not any(name.startswith("worker") for name in threads()))


def test_at_once_takes_no_more_than_is_taken_from_it():
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    with AtOnce(lambda number: number, items(), 2, "worker") as outcomes:
        wait_until(lambda: len(taken) == 2)
        for number in outcomes:
            assert len(taken) <= number + 3
            time.sleep(0.005)


def test_at_once_hands_out_what_is_done_while_the_next_item_is_waited_for():
    go_on = threading.Event()

    def items():
        yield 1
        go_on.wait(20)
        yield 2

    with AtOnce(lambda number: number, items(), 2, "worker") as outcomes:
        one = iter(outcomes)
        assert next(one) == 1
        assert not go_on.is_set()
        go_on.set()
        assert list(one) == [2]


def test_at_once_raises_an_items_error_at_its_turn():
    got = []
    with (
        AtOnce(lambda number: 6 // number, [3, 2, 0, 1], 2, "worker") as outcomes,
        pytest.raises(ZeroDivisionError),
    ):
        got.extend(outcomes)
    assert got == [2, 3]
    wait_until(lambda: not any(name.startswith("worker") for name in threads()))


def test_at_once_raises_what_ended_the_items_after_all_outcomes():
    def items():
        yield from (1, 2, 3)
        raise ValueError("broken")

    def slow(number):
        time.sleep(0.02)
        return number

    got = []
    with AtOnce(slow, items(), 2, "worker") as outcomes, pytest.raises(ValueError, match="broken"):
        got.extend(outcomes)
    assert got == [1, 2, 3]


def test_an_interrupt_does_not_wait_for_what_is_under_way():
    ends, began = threading.Event(), threading.Event()

    def stuck(number):
        began.set()
        ends.wait(20)

    def interrupted():
        with AtOnce(stuck, range(5), 2, "worker"):
            began.wait(20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert any(name.startswith("worker") for name in threads()), "it is still stuck, and we are here"
    ends.set()
    wait_until(lambda: not any(name.startswith("worker") for name in threads()))


def test_nothing_begins_after_at_once_was_left():
    worked, go_on = [], threading.Event()

    def items():
        go_on.wait(20)
        yield 1

    with AtOnce(worked.append, items(), 2, "worker"):
        pass
    go_on.set()
    wait_until(lambda: not any(name.startswith("worker") for name in threads()))
    assert worked == []


def test_a_busy_clock_counts_time_once_however_many_are_busy():
    clock = BusyClock()
    began = time.perf_counter()
    with clock:
        with clock:
            time.sleep(0.05)
        time.sleep(0.05)
    whole = time.perf_counter() - began
    time.sleep(0.05)
    assert 0.1 <= clock.seconds <= whole
