# VIPA: every target sets up first what has changed (`make setup`); a second run takes seconds.
#
#   make bringup [LAB=simulated] [POLICY=scripted] [TASK=reach] [SMOKE=60] [RECORD=1] [CONSOLE=no]
#   make trial   [TASK=reach] [POLICY=scripted] [LAB=simulated] [N=1] [SEED=0]
#   make test | lint | audit | bench | doctor | setup | clean

SHELL := /bin/bash
BIN := .venv/bin
TASK ?= reach
# Set-up leaves it to the first use to compile what is seldom imported; that must be kept.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup bringup trial test lint audit bench doctor clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

setup:
	@ros2_ws/setup.sh

bringup: setup
	@$(BIN)/vipa bringup --task $(TASK) $(if $(LAB),--lab $(LAB)) $(if $(POLICY),--policy $(POLICY)) $(if $(SMOKE),--smoke $(SMOKE)) $(if $(RECORD),--record) $(if $(SMOKE)$(filter no,$(CONSOLE)),,--console)

trial: setup
	@$(BIN)/vipa trial --task $(TASK) $(if $(LAB),--lab $(LAB)) $(if $(POLICY),--policy $(POLICY)) $(if $(N),--trials $(N)) $(if $(SEED),--seed $(SEED))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Long computations run on one core at low priority, beside the tests that mostly wait; lint takes what both leave over. What
# keeps time with a wall clock has the other core for itself; the rest shares the cores, a process for each. The whole
# graph, and what keeps time with a server that does not wait, come last; tests with the mark "idle" get what these leave.
# Only files that name a mark are collected for it (tests/conftest.py holds them to that). Trainings come first: where
# OpenVINO has run in a process, the end of a forked child can crash it.
PYTEST := source $(BIN)/activate && source ros2_ws/install/setup.bash && exec python -m pytest
marked = $(shell grep -rlE 'mark\.($(1))\b' tests --include='test_*.py' | grep -v end_to_end | sort -r)

test: setup
	@mkdir -p logs; export OMP_NUM_THREADS=1; status=0; \
	(exec nice -n 5 bash -c '$(PYTEST) $(call marked,long) -m long --timeout 1800') >logs/long_tests.log 2>&1 & long=$$!; \
	trap "kill $$long 2>/dev/null" EXIT; \
	chrt --idle 0 $(MAKE) --no-print-directory lint >logs/lint.log 2>&1 & lint=$$!; \
	($(PYTEST) $(call marked,protocol|ros) -m "(protocol or ros) and not (alone or long or idle)") || status=1; \
	wait $$lint || status=1; cat logs/lint.log; \
	($(PYTEST) -m "not (alone or long or idle or protocol or ros or end_to_end)" -n auto --dist loadfile --max-worker-restart=0) || status=1; \
	wait $$long || status=1; cat logs/long_tests.log; \
	(exec chrt --idle 0 bash -c '$(PYTEST) $(call marked,idle) -m idle --timeout 1800') >logs/idle_tests.log 2>&1 & idle=$$!; \
	trap "kill $$idle 2>/dev/null" EXIT; \
	(unset OMP_NUM_THREADS; $(PYTEST) tests/end_to_end $(call marked,alone) -m "end_to_end or alone") || status=1; \
	wait $$idle || status=1; cat logs/idle_tests.log; \
	exit $$status

audit: setup
	@.ci/audit

bench: setup
	@$(BIN)/vipa bench loop --json -

doctor: setup
	@$(BIN)/vipa doctor

clean:
	rm -rf ros2_ws/build ros2_ws/install ros2_ws/log .venv/.vipa-setup
