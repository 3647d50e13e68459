# SPDX-License-Identifier: BSD-3-Clause
"""Records of `logging` that tasks make are handled in the user's process, as if made there."""

from __future__ import annotations

import contextlib
import logging
import logging.config
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import tasks

import owngil
from harness import scripts

STARTS = pytest.mark.parametrize("start", ["template", "spawn"])
NAME = "owngil.tests.logging"
logger = logging.getLogger(NAME)


class Portable:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Portable)

    def __hash__(self) -> int:
        return 1


@pytest.fixture
def one() -> Iterator[owngil.Pool]:
    with owngil.Pool(1, name="one") as pool:
        yield pool


@contextlib.contextmanager
def level(name: str | None, value: int) -> Iterator[None]:
    target = logging.getLogger(name)
    before = target.level
    target.setLevel(value)
    try:
        yield
    finally:
        target.setLevel(before)


@STARTS
def test_a_record_is_handled_in_the_users_process_before_the_result(
    start: str, caplog: pytest.LogCaptureFixture
) -> None:
    with owngil.Pool(1, start=start, name="mine") as pool:
        for number in range(5):
            pool.submit(_log, logging.WARNING, "number %d", number).result()
            (record,) = caplog.records
            assert (record.name, record.getMessage()) == (NAME, f"number {number}")
            assert (record.msg, record.args) == ("number %d", (number,))
            caplog.clear()


def test_a_record_tells_the_worker_and_the_task(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    _, pid = one.submit(_log_and_tell, "word").result()
    (record,) = caplog.records
    assert record.owngil_worker == 0  # type: ignore[attr-defined]
    assert record.owngil_pid == pid == record.process  # type: ignore[attr-defined]
    assert record.owngil_pool == "one"  # type: ignore[attr-defined]
    assert record.owngil_task.startswith("_log_and_tell#")  # type: ignore[attr-defined]
    assert record.funcName == "_log_and_tell"
    assert record.pathname == __file__


def test_the_users_levels_hold_in_workers(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_log, logging.INFO, "too low").result()
    assert one.submit(_enabled, NAME, logging.INFO).result() is False
    with level(None, logging.INFO):
        one.submit(_log, logging.INFO, "high enough").result()
        assert one.submit(_enabled, NAME, logging.INFO).result() is True
    one.submit(_log, logging.INFO, "too low again").result()
    with level(NAME, logging.DEBUG):
        one.submit(_log, logging.DEBUG, "by its own level").result()
        assert one.submit(_enabled, "another", logging.INFO).result() is False
    logging.disable(logging.ERROR)
    try:
        one.submit(_log, logging.ERROR, "disabled").result()
    finally:
        logging.disable(logging.NOTSET)
    assert [record.getMessage() for record in caplog.records] == ["high enough", "by its own level"]


def test_every_pool_hears_of_a_level(caplog: pytest.LogCaptureFixture) -> None:
    with owngil.Pool(1) as first, owngil.Pool(1) as second:
        for pool in (first, second):
            pool.submit(tasks.echo, 1).result()
        with level(NAME, logging.INFO):
            for pool in (first, second, first):
                pool.submit(_log, logging.INFO, "heard").result()
    assert len(caplog.records) == 3


def test_the_users_logger_has_the_last_word(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_set_level_and_log, logging.DEBUG, "sent in vain").result()
    assert caplog.records == []


def test_extra_custom_levels_and_stack_info_travel(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_log_extra).result()
    (record,) = caplog.records
    assert record.levelname == "LOUD"
    assert record.levelno == 35
    assert record.colour == "red"  # type: ignore[attr-defined]
    assert record.thing == Portable()  # type: ignore[attr-defined]
    assert "lock" in record.lock  # type: ignore[attr-defined]
    assert "_log_extra" in (record.stack_info or "")


def test_an_exception_travels_as_its_traceback(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_log_exception).result()
    (record,) = caplog.records
    assert record.exc_info is None
    assert "ZeroDivisionError" in (record.exc_text or "")
    assert record.getMessage() == "it failed"
    assert "ZeroDivisionError" in logging.Formatter().format(record)


def test_arguments_that_cannot_travel_are_put_into_the_message(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_log_lock).result()
    (record,) = caplog.records
    assert record.getMessage().startswith("lock: <unlocked")


@pytest.mark.parametrize("argument", ["'no number'", "object()"])
def test_a_message_that_cannot_be_made_is_reported_as_logging_does(argument: str) -> None:
    source = f"""
        import logging, owngil
        def log():
            logging.getLogger("app").warning("%d", {argument})
        with owngil.Pool(1) as pool:
            pool.submit(log).result()
    """
    err = scripts.run_code(source, quiet=False).err
    assert "--- Logging error ---" in err
    assert "TypeError: " in err


def test_a_record_of_a_megabyte_arrives_whole(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_log_size, 1 << 20).result()
    (record,) = caplog.records
    assert record.getMessage() == "x" * (1 << 20)


def test_many_records_from_threads_all_arrive(
    pool: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    for future in [pool.submit(_log_by_threads, 4, 200) for _ in range(4)]:
        future.result()
    assert len(caplog.records) == 4 * 4 * 200


def test_a_process_that_a_task_forks_logs_as_well(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_log_by_fork).result()
    assert sorted(record.getMessage() for record in caplog.records) == ["child", "parent"]


def test_the_functions_of_the_module_log_too(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        one.submit(logging.warning, "to the root").result()
    assert [record.name for record in caplog.records] == ["root", "root"]


def test_a_library_with_a_null_handler_is_heard(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    one.submit(_log_with_null_handler).result()
    assert [record.getMessage() for record in caplog.records] == ["null handler"]


def test_loggers_that_do_not_propagate_are_the_users_to_configure(one: owngil.Pool) -> None:
    seen: list[logging.LogRecord] = []

    class Seeing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    target = logging.getLogger("owngil.tests.alone")
    target.propagate = False
    target.addHandler(Seeing())
    try:
        one.submit(_log_as, "owngil.tests.alone").result()
    finally:
        target.propagate = True
        target.handlers.clear()
    assert [record.getMessage() for record in seen] == ["as owngil.tests.alone"]


def test_what_an_initializer_configures_handles_in_the_worker_and_only_there(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with owngil.Pool(1, initializer=_configure) as pool:
        pool.submit(_log, logging.INFO, "in the worker").result()
        assert capsys.readouterr().out == f"INFO:{NAME}:in the worker\n"
    assert caplog.records == []


def test_what_dies_in_its_initializer_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    arguments = (ValueError, "no")
    with owngil.Pool(1, initializer=tasks.fail, initargs=arguments) as pool:
        future = pool.submit(tasks.echo, 1)
        assert isinstance(future.exception(), owngil.PoolBroken)
    assert "Exception in initializer:" in [record.getMessage() for record in caplog.records]


def test_the_last_record_before_a_crash_is_handled(
    one: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(one.submit(_log_and_die).exception(), owngil.WorkerDied)
    assert [record.getMessage() for record in caplog.records] == ["last"]


def test_a_filter_that_raises_harms_nothing(
    one: owngil.Pool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("no filter")

    logger.addFilter(refuse)
    try:
        one.submit(_log, logging.WARNING, "filtered").result()
    finally:
        logger.removeFilter(refuse)
    assert "RuntimeError: no filter" in capsys.readouterr().err
    one.submit(_log, logging.WARNING, "later").result()
    assert [record.getMessage() for record in caplog.records] == ["later"]


def test_a_task_that_closes_all_descriptors_does_not_log_into_a_file_of_its_own(
    one: owngil.Pool, tmp_path: Any
) -> None:
    assert one.submit(_close_all_and_log, str(tmp_path / "file")).result() == b""


def test_with_dict_config_in_the_program_its_format_is_used() -> None:
    source = """
        import logging, logging.config, owngil
        logging.config.dictConfig({
            "version": 1,
            "formatters": {
                "f": {"format": "%(owngil_pool)s/%(owngil_worker)s %(name)s %(message)s"}
            },
            "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f",
                               "stream": "ext://sys.stdout"}},
            "loggers": {"app": {"level": "INFO", "handlers": ["h"], "propagate": False}},
        })
        def log(n):
            logging.getLogger("app.part").info("number %d", n)
            logging.getLogger("app.part").debug("too low")
            logging.getLogger("other").info("too low")
        with owngil.Pool(1, name="p") as pool:
            for n in range(3):
                pool.submit(log, n).result()
    """
    assert scripts.run_code(source).lines == [f"p/0 app.part number {n}" for n in range(3)]


def test_without_any_configuration_warnings_reach_stderr() -> None:
    source = """
        import logging, owngil
        def log():
            logging.getLogger("app").warning("careful")
            logging.getLogger("app").info("too low")
        with owngil.Pool(1) as pool:
            pool.submit(log).result()
    """
    assert scripts.run_code(source, quiet=False).err == "careful\n"


def test_logging_is_not_imported_for_workers_that_do_not_log() -> None:
    with owngil.Pool(1, start="spawn") as pool:
        assert pool.submit(tasks.is_imported, "owngil._log_sending").result() is False


def test_with_forward_output_off_workers_log_by_themselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with owngil.Pool(1, forward_output=False, initializer=_silence) as pool:
        pool.submit(_log, logging.WARNING, "unheard").result()
    assert caplog.records == []


# --- tasks


def _log(at: int, message: str, *args: object) -> None:
    logger.log(at, message, *args)


def _log_and_tell(word: str) -> tuple[int, int]:
    logger.warning(word)
    return tasks.rank_and_pid()


def _enabled(name: str, at: int) -> bool:
    return logging.getLogger(name).isEnabledFor(at)


def _set_level_and_log(at: int, message: str) -> None:
    logger.setLevel(at)
    logger.log(at, message)


def _log_extra() -> None:
    logging.addLevelName(35, "LOUD")
    extra = {"colour": "red", "thing": Portable(), "lock": threading.Lock()}
    logger.log(35, "message", extra=extra, stack_info=True)


def _log_exception() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logger.exception("it failed")


def _log_lock() -> None:
    logger.warning("lock: %r", threading.Lock())


def _log_size(size: int) -> None:
    logger.warning("x" * size)


def _log_by_threads(threads: int, each: int) -> None:
    def log() -> None:
        for number in range(each):
            logger.warning("%d", number)

    running = [threading.Thread(target=log) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _log_by_fork() -> None:
    child = os.fork()
    if child == 0:
        logger.warning("child")
        os._exit(0)
    os.waitpid(child, 0)
    logger.warning("parent")


def _log_with_null_handler() -> None:
    quiet = logging.getLogger("owngil.tests.quiet")
    quiet.addHandler(logging.NullHandler())
    quiet.warning("null handler")


def _log_as(name: str) -> None:
    logging.getLogger(name).warning("as %s", name)


def _configure() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)


def _silence() -> None:
    logging.disable(logging.CRITICAL)


def _log_and_die() -> None:
    logger.warning("last")
    tasks.end_by_signal()


def _close_all_and_log(path: str) -> bytes:
    from owngil import _worker_output

    os.close(_worker_output.log_socket)
    opened = []
    while _worker_output.log_socket not in opened:
        opened.append(os.open(path, os.O_RDWR | os.O_CREAT))
    logger.warning("nowhere")
    return os.pread(_worker_output.log_socket, 1000, 0)
