# VIPA: every target sets up first what has changed (`make setup`); a second run takes seconds.
#
#   make bringup [LAB=simulated] [POLICY=scripted] [TASK=reach] [SMOKE=60] [RECORD=1] [CONSOLE=no]
#   make trial   [TASK=reach] [POLICY=scripted] [LAB=simulated] [N=1] [SEED=0]
#   make test | lint | bench | doctor | setup | clean

SHELL := /bin/bash
BIN := .venv/bin
TASK ?= reach

.DEFAULT_GOAL := help
.PHONY: help setup bringup trial test lint bench doctor clean

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

# What keeps time with a wall clock, or forks, runs alone; the rest shares the cores, a process for each.
ALONE := end_to_end or protocol or ros or processes

test: lint
	@source $(BIN)/activate && source ros2_ws/install/setup.bash && \
	OMP_NUM_THREADS=1 python -m pytest -m "not ($(ALONE))" -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0; shared=$$?; \
	python -m pytest -m "$(ALONE)" && exit $$shared

bench: setup
	@$(BIN)/vipa bench loop --json -

doctor: setup
	@$(BIN)/vipa doctor

clean:
	rm -rf ros2_ws/build ros2_ws/install ros2_ws/log .venv/.vipa-setup
