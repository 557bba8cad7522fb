"""The laboratory's referee over a loopback connection with faults on the wire, and the operator's on text streams."""

import io
import json
import socket
import threading
import time

import pytest

from vipa.errors import VipaError
from vipa.trials.referee import (
    OPERATOR_TASKS,
    Assignment,
    Judgement,
    LaboratoryReferee,
    OperatorReferee,
    RefereeError,
)
from vipa_sim.scenes import make_scene

RESET = {
    "ok": True,
    "task": "reach",
    "instruction": "touch the red, then the green, then the blue marker",
    "sub_tasks": ["touch red", "touch green", "touch blue"],
    "time_limit": 60.0,
}
JUDGE = {"ok": True, "done": [True, False, False], "time_ns": 1_700_000_000_123_456_789}
CLOSE = object()  # the laboratory hangs up without an answer


def _until_lost(lines):
    try:
        yield from lines
    except ConnectionError:
        return


class Laboratory:
    """Answers each line that it gets with the next of its replies: an object, raw bytes, a pause in s, or CLOSE."""

    def __init__(self, *replies, port=0):
        self.replies = list(replies)
        self.requests = []
        self.connections = 0
        self.connection = None
        self.server = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.address = self.server.getsockname()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            self.connection = connection
            with connection, connection.makefile("rb") as lines:
                for line in _until_lost(lines):
                    self.requests.append(json.loads(line))
                    reply = self.replies.pop(0) if self.replies else CLOSE
                    if reply is CLOSE:
                        break
                    if isinstance(reply, float):
                        time.sleep(reply)
                        continue
                    try:
                        for part in reply if isinstance(reply, list) else [reply]:
                            connection.sendall(part if isinstance(part, bytes) else json.dumps(part).encode() + b"\n")
                    except OSError:
                        break

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        if self.connection is not None and self.connection.fileno() >= 0:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(2.0)


@pytest.fixture
def laboratory():
    opened = []

    def start(*replies, port=0):
        opened.append(Laboratory(*replies, port=port))
        return opened[-1]

    yield start
    for one in opened:
        try:
            one.close()
        except OSError:  # closed by the test
            continue


def test_reset_and_judge(laboratory):
    server = laboratory(RESET, JUDGE, JUDGE | {"done": [True, True, True]})
    referee = LaboratoryReferee(server.address)
    assignment = referee.reset("reach", 3, "unseen")
    assert assignment == Assignment("reach", RESET["instruction"], tuple(RESET["sub_tasks"]), 60.0)
    assert referee.judge() == Judgement((True, False, False), 1_700_000_000_123_456_789)
    assert referee.judge().done == (True, True, True)
    assert server.requests[0] == {"command": "reset", "task": "reach", "seed": 3, "variant": "unseen"}
    assert server.requests[1] == {"command": "judge"}
    assert server.connections == 1
    referee.close()


def test_a_failure_is_passed_on(laboratory):
    server = laboratory(JUDGE | {"failure": "touched blue before green"})
    assert LaboratoryReferee(server.address).judge().failure == "touched blue before green"


def test_an_answer_in_pieces_is_put_together(laboratory):
    whole = json.dumps(JUDGE).encode() + b"\n"
    server = laboratory([whole[:7], whole[7:30], whole[30:]])
    assert LaboratoryReferee(server.address).judge().done == (True, False, False)


def test_a_refusal_is_one_line(laboratory):
    server = laboratory({"ok": False, "error": "unknown task\nfly"}, JUDGE)
    referee = LaboratoryReferee(server.address)
    with pytest.raises(RefereeError, match=r"laboratory 127.0.0.1:\d+: refused reset: unknown task fly$"):
        referee.reset("fly", 0)
    assert referee.judge().done == (True, False, False)  # the connection is still good
    assert server.connections == 1


def test_a_connection_lost_between_requests_is_opened_again(laboratory):
    server = laboratory(RESET, CLOSE, JUDGE)
    referee = LaboratoryReferee(server.address)
    referee.reset("reach", 0)
    assert referee.judge().done == (True, False, False)
    assert server.connections == 2


def test_a_laboratory_that_comes_back_is_found(laboratory):
    first = laboratory(RESET)
    referee = LaboratoryReferee(first.address)
    referee.reset("reach", 0)
    referee._client._socket.close()
    first.close()
    threading.Timer(0.3, lambda: laboratory(JUDGE, port=first.address[1])).start()
    assert referee.judge().done == (True, False, False)


def test_no_laboratory(laboratory):
    server = laboratory()
    server.close()
    referee = LaboratoryReferee(server.address, timeout=0.3)
    with pytest.raises(RefereeError, match=r"Connection refused. Start the laboratory or correct referee"):
        referee.judge()


def test_a_silent_laboratory_and_its_late_answer(laboratory):
    server = laboratory(0.5, JUDGE | {"done": [False, False, False]})
    referee = LaboratoryReferee(server.address, timeout=0.2)
    started = time.monotonic()
    with pytest.raises(RefereeError, match=r"no answer to judge within 0.2 s. See the log of the laboratory"):
        referee.judge()
    assert time.monotonic() - started < 2.0
    time.sleep(0.4)  # the laboratory answers too late, on the connection that was given up
    assert referee.judge().done == (False, False, False)


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"hello\n", "no JSON object: b'hello'"),
        (b"[1, 2]\n", "no JSON object"),
        (b"\xff\xfe\n", "no JSON object"),
        ({"done": [True]}, "refused judge: no reason given"),
        ({"ok": True, "time_ns": 1}, "done: expected a list of bool, found None"),
        ({"ok": True, "done": [1, 0], "time_ns": 1}, "done: expected a list of bool"),
        ({"ok": True, "done": [True], "time_ns": 1.5}, "time_ns: expected whole nanoseconds"),
        ({"ok": True, "done": [True], "time_ns": float("inf")}, "time_ns: expected whole nanoseconds"),
        ({"ok": True, "done": [True], "time_ns": 1, "failure": 3}, "failure: expected text"),
    ],
)
def test_answers_to_judge_that_cannot_be_used(laboratory, reply, complaint):
    server = laboratory(reply)
    with pytest.raises(RefereeError, match=complaint) as caught:
        LaboratoryReferee(server.address, timeout=1.0).judge()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sub_tasks": []}, "sub_tasks: task reach has none"),
        ({"sub_tasks": "touch"}, "sub_tasks: expected a list of str"),
        ({"time_limit": 0}, "time_limit: 0"),
        ({"time_limit": float("nan")}, "time_limit: nan"),
        ({"time_limit": True}, "time_limit: expected a number"),
        ({"instruction": None}, "instruction: expected text"),
    ],
)
def test_answers_to_reset_that_cannot_be_used(laboratory, change, complaint):
    server = laboratory(RESET | change)
    with pytest.raises(RefereeError, match=complaint):
        LaboratoryReferee(server.address, timeout=1.0).reset("reach", 0)


def test_a_judgement_of_another_task_is_refused(laboratory):
    server = laboratory(RESET, JUDGE | {"done": [True]})
    referee = LaboratoryReferee(server.address)
    referee.reset("reach", 0)
    with pytest.raises(RefereeError, match="done: 1 values for 3 sub-tasks"):
        referee.judge()


def test_an_endless_answer_is_refused(laboratory):
    server = laboratory(b"x" * 100_000)
    with pytest.raises(RefereeError, match="more than 65536 bytes"):
        LaboratoryReferee(server.address, timeout=1.0).judge()


TASK = Assignment("reach", "touch the red, then the green marker", ("touch red", "touch green"), 60.0)


class Keyboard:
    """A terminal whose lines come when the test types them; None closes it."""

    def __init__(self):
        self._read, self._write = socket.socketpair()
        self.stream = self._read.makefile("r")

    def type(self, line):
        self._write.sendall(line.encode() + b"\n")

    def hang_up(self):
        self._write.shutdown(socket.SHUT_WR)


def operator():
    keyboard, screen = Keyboard(), io.StringIO()
    referee = OperatorReferee({"reach": TASK}, keyboard.stream, screen, clock_ns=lambda: 42)
    make_ready(referee, keyboard, screen, seed=7)
    return referee, keyboard, screen


def make_ready(referee, keyboard, screen, seed):
    """Reset, pressing Enter once the operator was asked for it."""
    asked = screen.getvalue().count("Press Enter")
    assignments = []
    resetting = threading.Thread(target=lambda: assignments.append(referee.reset("reach", seed, "seen")), daemon=True)
    resetting.start()
    deadline = time.monotonic() + 2.0
    while screen.getvalue().count("Press Enter") == asked and time.monotonic() < deadline:
        time.sleep(0.005)
    keyboard.type("")
    resetting.join(2.0)
    assert assignments == [TASK]


def judged(referee, condition):
    """The first judgement that fulfils the condition, or the last within 2 s."""
    deadline = time.monotonic() + 2.0
    judgement = referee.judge()
    while not condition(judgement) and time.monotonic() < deadline:
        time.sleep(0.005)
        judgement = referee.judge()
    return judgement


def test_the_operator_says_yes_to_everything():
    referee, keyboard, screen = operator()
    assert referee.judge() == Judgement((False, False), 42)
    keyboard.type("y")
    assert judged(referee, lambda j: j.done[0]) == Judgement((True, False), 42)
    keyboard.type("Yes")
    assert judged(referee, lambda j: all(j.done)) == Judgement((True, True), 42)
    shown = screen.getvalue()
    assert "Set up reach (seen, placement 7): touch the red, then the green marker" in shown
    assert shown.index("touch red - done?") < shown.index("touch green - done?")


def test_the_operator_says_no_and_is_still_asked_for_the_rest():
    referee, keyboard, _ = operator()
    keyboard.type("n")
    keyboard.type("y")
    assert judged(referee, lambda j: j.failure) == Judgement(
        (False, True), 42, "the operator answered no to: touch red"
    )


def test_other_keys_are_asked_again():
    referee, keyboard, screen = operator()
    keyboard.type("maybe")
    keyboard.type("y")
    assert judged(referee, lambda j: j.done[0]).done == (True, False)
    assert "Please answer y (done) or n (failed)" in screen.getvalue()


@pytest.mark.parametrize("line", ["a the cloth fell off the table", "Abort  the cloth fell off the table"])
def test_the_operator_aborts_with_a_reason(line):
    referee, keyboard, screen = operator()
    keyboard.type("y")
    keyboard.type("a")  # without a reason
    keyboard.type(line)
    judgement = judged(referee, lambda j: j.abort)
    assert judgement == Judgement((True, False), 42, "", "the operator: the cloth fell off the table")
    assert "or abort the trial: a REASON" in screen.getvalue()
    make_ready(referee, keyboard, screen, seed=8)
    assert referee.judge() == Judgement((False, False), 42)


def test_the_operator_knows_the_tasks_of_the_paper():
    counts = {name: len(assignment.sub_tasks) for name, assignment in OPERATOR_TASKS.items()}
    assert counts == {"reach": 3, "put_three_obj": 5, "wipe_board": 3, "water_plant": 3}
    for name in ("put_three_obj", "wipe_board", "water_plant"):
        scene, assignment = make_scene(name), OPERATOR_TASKS[name]
        said = (assignment.task, assignment.instruction, assignment.sub_tasks)
        assert (name, scene.instruction, tuple(scene.sub_tasks)) == said


def test_a_terminal_that_closes_during_the_trial_is_a_failure():
    referee, keyboard, _ = operator()
    keyboard.type("y")
    keyboard.hang_up()
    judgement = judged(referee, lambda j: j.failure)
    assert judgement == Judgement((True, False), 42, "the operator's terminal was closed")
    with pytest.raises(RefereeError, match="terminal was closed before the cell was ready"):
        referee.reset("reach", 8)


def test_an_operator_without_a_terminal_answers_from_elsewhere_and_each_question_once():
    questions = []

    def keep_waiting():  # answers come while the referee waits
        assert not referee.answer("touch red", "y")  # not what is asked
        assert referee.answer("", "")
        assert not referee.answer("", "")  # answered already
        return True

    referee = OperatorReferee({"reach": TASK}, None, io.StringIO(), lambda: 42, questions.append, keep_waiting)
    assert referee.reset("reach", 7) == TASK
    assert not referee.answer("touch green", "y")
    assert referee.answer("touch red", "y")
    assert not referee.answer("touch red", "y")
    assert not referee.answer("touch green", "n")  # its turn comes when the referee has judged
    assert referee.judge() == Judgement((True, False), 42)
    assert referee.answer("touch green", "a")  # a reason is missing: it is asked again
    assert referee.judge() == Judgement((True, False), 42)
    assert referee.answer("touch green", "a the cloth fell")
    assert referee.judge().abort == "the operator: the cloth fell"
    asked = [(question.kind, question.sub_task) for question in questions]
    assert asked == [("set_up", ""), ("judge", "touch red"), ("judge", "touch green"), ("judge", "touch green")]


def test_nobody_is_waited_for_longer_than_told():
    questions = []
    referee = OperatorReferee({"reach": TASK}, None, io.StringIO(), lambda: 42, questions.append, lambda: False)
    with pytest.raises(RefereeError, match="before the cell was ready"):
        referee.reset("reach", 7)
    assert questions[-1] is None
    assert not referee.answer("", "")


def test_answers_typed_after_a_trial_do_not_count_for_the_next():
    referee, keyboard, screen = operator()
    for line in ("y", "y"):
        keyboard.type(line)
    assert all(judged(referee, lambda j: all(j.done)).done)
    keyboard.type("n")
    while referee._lines.empty():
        time.sleep(0.005)
    make_ready(referee, keyboard, screen, seed=8)
    assert referee.judge() == Judgement((False, False), 42)


def test_a_task_that_the_operator_does_not_know():
    with pytest.raises(VipaError, match="operator: unknown task fly; known: reach"):
        OperatorReferee({"reach": TASK}, io.StringIO(), io.StringIO(), lambda: 0).reset("fly", 0)


def test_no_terminal():
    with pytest.raises(RefereeError, match="Start the trial on a terminal"):
        OperatorReferee({"reach": TASK}, io.StringIO(""), io.StringIO(), lambda: 0).reset("reach", 0)
