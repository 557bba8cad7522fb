"""Trial node: runs trials of a task on the running cell, on demand (/trial/run) or by itself, and logs every result."""

import dataclasses
import math
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from std_msgs.msg import String
from vipa_msgs.action import RunTrial
from vipa_msgs.msg import ActionTrace, ArmState, GateEvent, SupervisorState, TrialEvent

from vipa.benchmarks.loop import LoopStatistics
from vipa.errors import VipaError
from vipa.nodes.base import FRAMES, LATCHED, LATEST, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.messages import to_time
from vipa.nodes.monitor import step_from_trace
from vipa.nodes.trial_recording import TrialRecording
from vipa.trials.loop_figures import loop_figures
from vipa.trials.referee import Assignment, Question, Referee, make_referee
from vipa.trials.result import TrialLog, TrialResult
from vipa.trials.schedule import PlanSchedule, Schedule, SeedSchedule, Setup
from vipa.trials.store import TrialStore
from vipa.trials.trial import Trial
from vipa_inference.policy import HOLD_INSTRUCTION

JUDGE_PERIOD_S = 0.1
READY_TIME_OUT_S = 90.0


class TrialNode(ManagedNode):
    """One trial at a time: reset the scene, give the instruction, ask the referee, write the result.

    With ``plan``, the folder of a plan, it runs what is left of run ``run``; with ``trials``, so many consecutive seeds
    from ``seed`` on, into ``log``. Then it ends. Without either it waits for /trial/run, and logs into ``log``. With
    ``recordings``, the folder of the graph's recorder, each trial is an episode there.
    """

    def __init__(self) -> None:
        super().__init__("trial", period_s=0.02)
        for name, default in (("task", "reach"), ("instruction", ""), ("variant", "seen"), ("policy", "scripted")):
            self.declare_parameter(name, default)
        self.declare_parameter("seed", 0)
        self.declare_parameter("trials", 0)
        self.declare_parameter("time_limit", 0.0)
        self.declare_parameter("log", "trials.jsonl")
        self.declare_parameter("plan", "")
        self.declare_parameter("run", 0)
        self.declare_parameter("recordings", "")
        self._states = self.create_publisher(TrialEvent, "/trial/state", LATCHED)
        self._operator = self.polled(TrialEvent, "/trial/answer", RELIABLE)
        self._referee: Referee = make_referee(
            self.lab.referee, self.clock.now_ns, self._on_question, self._take_answers
        )
        self._log = TrialLog(Path(str(self.get_parameter("log").value)))
        self._schedule = self._make_schedule()
        self._ends_when_done = self._schedule.upcoming is not None or bool(self.get_parameter("plan").value)
        self._is_scheduled = False  # the running trial
        self._asks = False  # whether the referee waits for the operator
        recordings = str(self.get_parameter("recordings").value)
        self._recording = TrialRecording(self, Path(recordings)) if recordings else None
        self._seed = 0
        self._trial: Trial | None = None
        self._result: TrialResult | None = None
        self._next_judgement = 0.0
        self._started = time.monotonic()
        self._done = threading.Event()
        self._cell: Any = None
        self._statistics = LoopStatistics(1.0 / self.lab.control.rate, 0.0)
        self._policy_hash = ""
        self._traces = self.polled(ActionTrace, "/controller/trace", RELIABLE_DEEP)
        self._gate_events = self.polled(GateEvent, "/controller/gate", RELIABLE_DEEP)
        self._arm = self.polled(ArmState, "/fr3/state", FRAMES)
        self._cells = self.polled(SupervisorState, "/supervisor/state", LATEST)
        self._events = self.create_publisher(TrialEvent, "/trial/events", RELIABLE)
        self._instruction = self.create_publisher(String, "/policy/instruction", LATCHED)
        self._instruct(HOLD_INSTRUCTION)
        self._tell_state("idle")
        self._server = ActionServer(
            self,
            RunTrial,
            "/trial/run",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def step(self) -> None:
        """Begin the next trial when the cell is ready; judge the running one."""
        self._cell = self.take_latest(self._cells) or self._cell
        self._collect()
        self._take_answers()
        if self._trial is None:
            self._begin_next()
        elif time.monotonic() >= self._next_judgement:
            self._next_judgement = time.monotonic() + JUDGE_PERIOD_S
            self._judge()

    def close(self) -> None:
        """Abort a running trial; it is logged, unless its plan runs it again."""
        if self._trial is not None and self._is_scheduled and not self._schedule.keeps_interrupted:
            self._instruct(HOLD_INSTRUCTION)
        elif self._trial is not None:
            self._emit(self._trial.abort(self.clock.now_ns(), "the trial node ended"))
            self._end()

    def _make_schedule(self) -> Schedule:
        plan = str(self.get_parameter("plan").value)
        if plan:
            return PlanSchedule(TrialStore(Path(plan)), int(self.get_parameter("run").value or 0))
        variant, policy = (str(self.get_parameter(name).value) for name in ("variant", "policy"))
        first = Setup(int(self.get_parameter("seed").value or 0), variant, policy)
        return SeedSchedule(self._log, first, int(self.get_parameter("trials").value or 0))

    def _collect(self) -> None:
        for trace in self.take_all(self._traces):
            self._statistics.steps.append(step_from_trace(trace))
            self._policy_hash = str(trace.policy_hash)
        for event in self.take_all(self._gate_events):
            if event.verdict == GateEvent.REFUSED:
                refusals = self._statistics.gate_refusals
                refusals[event.rule] = refusals.get(event.rule, 0) + 1
        for state in self.take_all(self._arm):
            self._statistics.see_arm(str(state.mode), state.mode == ArmState.REFLEX, int(state.trajectories_refused))

    def _begin_next(self) -> None:
        setup = self._schedule.upcoming
        if setup is None:
            if self._ends_when_done:
                self.finish(0, "")
            return
        if not self._ready():
            if time.monotonic() - self._started > READY_TIME_OUT_S:
                reason = self._cell.reason if self._cell is not None else "no supervisor"
                self.finish(1, f"trial: the cell was not ready within {READY_TIME_OUT_S:.0f} s: {reason}")
            return
        task, instruction = (str(self.get_parameter(name).value) for name in ("task", "instruction"))
        try:
            self._schedule.begin()
            self._begin(setup, float(self.get_parameter("time_limit").value or 0.0), task, instruction)
            self._is_scheduled = True
        except VipaError as error:
            if self.exit_status is None:
                self.finish(1, f"trial: {error}")

    def _ready(self) -> bool:
        return self._cell is not None and self._cell.state == SupervisorState.READY and self.clock.now_ns() > 0

    def _begin(self, setup: Setup, time_limit: float, task: str, instruction: str) -> None:
        self._seed = setup.seed
        assignment: Assignment = self._referee.reset(task, setup.seed, setup.variant)
        changes = {"instruction": instruction} if instruction else {}
        changes |= {"time_limit": time_limit} if time_limit else {}
        assignment = dataclasses.replace(assignment, **changes)
        recording = str(self._recording.start(assignment.instruction)) if self._recording else None
        self._trial = Trial(
            assignment, seed=setup.seed, variant=setup.variant, policy=setup.policy, recording=recording
        )
        self._result, self._is_scheduled = None, False
        self._statistics.clear()
        self._policy_hash = ""
        self._done.clear()
        self._emit(self._trial.start(self.clock.now_ns()))
        if not self._asks:
            self._tell_state("running")
        self._instruct(assignment.instruction)

    def _judge(self) -> None:
        assert self._trial is not None
        now_ns = self.clock.now_ns()
        try:
            judgement = self._referee.judge()
            reason = "" if self._ready() else str(self._cell.reason)
            self._emit(
                self._trial.update(
                    now_ns,
                    judgement.done,
                    supervisor_ok=self._ready(),
                    supervisor_reason=reason,
                    failure=judgement.failure,
                    abort=judgement.abort,
                )
            )
        except VipaError as error:
            self._emit(self._trial.abort(now_ns, str(error)))
        if not self._trial.running:
            self._end()

    def _end(self) -> None:
        assert self._trial is not None
        self._instruct(HOLD_INSTRUCTION)
        self._tell_state("idle")
        result, self._trial = self._trial.result, None
        assert result is not None
        figures = loop_figures(self._statistics)
        self._result = dataclasses.replace(result, policy_hash=self._policy_hash, figures=figures)
        if self._is_scheduled:
            self._schedule.keep(self._result)
        else:
            self._log.append(self._result)
        self._started = time.monotonic()
        self._done.set()

    def _instruct(self, text: str) -> None:
        self._instruction.publish(String(data=text))

    def _emit(self, events: Any) -> None:
        for event in events:
            message = TrialEvent(event=event.kind, sub_task=event.sub_task, detail=event.detail)
            message.trial = self._trial_name
            message.header.stamp = to_time(event.time_ns)
            self._events.publish(message)
            self._record(event)
            self.get_logger().info(" ".join(w for w in ("trial:", event.kind, event.sub_task, event.detail) if w))

    def _record(self, event: Any) -> None:
        """A recorder that fails costs the recording, not the trial."""
        if self._recording is None:
            return
        try:
            self._recording.take(event)
        except VipaError as error:
            self.get_logger().error(str(error))

    # -- what the operator is asked ----------------------------------------------------------------------------------
    @property
    def _trial_name(self) -> str:
        return f"{self.get_parameter('task').value}-{self._seed}"

    def _tell_state(self, kind: str, sub_task: str = "", text: str = "") -> None:
        message = TrialEvent(trial=self._trial_name, event=kind, sub_task=sub_task, detail=text)
        message.header.stamp = to_time(self.clock.now_ns())
        self._states.publish(message)

    def _on_question(self, question: Question | None) -> None:
        self._asks = question is not None
        if question is None:
            self._tell_state("running")
        else:
            self._tell_state(question.kind, question.sub_task, question.text)

    def _take_answers(self) -> bool:
        """Give the referee what the operator answered; False once the node is to end."""
        for message in self.take_all(self._operator):
            lines = {"ready": "", "yes": "y", "no": "n", "abort": f"a {message.detail}"}
            is_for_this = message.trial == self._trial_name and message.event in lines
            if not (is_for_this and self._referee.answer(message.sub_task, lines[message.event])):
                line = f"trial: answer {message.event} {message.sub_task}: not what is asked; ignored"
                self.get_logger().warning(" ".join(line.split()))
        return self.exit_status is None

    # -- action /trial/run -------------------------------------------------------------------------------------------
    def _on_goal(self, goal: Any) -> GoalResponse:
        return GoalResponse.REJECT if self._trial is not None or self._schedule.upcoming else GoalResponse.ACCEPT

    def _execute(self, handle: Any) -> RunTrial.Result:
        goal = handle.request
        variant, policy = (str(self.get_parameter(name).value) for name in ("variant", "policy"))
        setup = Setup(int(goal.seed), variant, policy)

        def begin() -> VipaError | None:
            try:
                self._begin(setup, goal.time_limit, goal.task, goal.instruction)
            except VipaError as error:
                return error
            return None

        error = self.in_main(begin)
        if error is not None:
            handle.abort()
            return RunTrial.Result(outcome="failed", detail=str(error))
        while not self._done.wait(timeout=0.2):
            if handle.is_cancel_requested:
                self.in_main(lambda: self._abort("cancelled"))
        result = self._result
        assert result is not None
        handle.canceled() if handle.is_cancel_requested else handle.succeed()
        return RunTrial.Result(
            success=result.outcome == "succeeded",
            sub_tasks=list(result.sub_tasks),
            sub_tasks_done=list(result.done),
            sub_task_times=[math.nan if t is None else t for t in result.times],
            duration=result.duration,
            outcome=result.outcome,
            detail=result.detail,
        )

    def _abort(self, reason: str) -> None:
        if self._trial is not None:
            self._emit(self._trial.abort(self.clock.now_ns(), reason))
            self._end()


def main() -> int:
    """Run the node."""
    return run_node(TrialNode)


if __name__ == "__main__":
    sys.exit(main())
