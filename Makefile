# Everything begins with `setup`, which leaves .venv/bin/freehold.
PYTEST = .venv/bin/python -m pytest
# Files side by side: each worker has hosts or machines of its own, and much of a test is waiting. In their order: by
# the number of their tests a file with two long ones would come last, and one worker would wait for it.
PARALLEL = -n 3 --dist loadfile --no-loadscope-reorder
SUDO   = $(if $(filter 0,$(shell id -u)),,sudo -E)

.PHONY: help setup demo demo-down test test-fast test-unit test-integration test-e2e test-every-boot test-vagrant \
	lint lock

help:
	@echo "make demo       build an image, bring up a lab of two VMs, deploy to it under load, roll back"
	@echo "make demo-down  take the demo down; leaves nothing"
	@echo "make test       every test: unit, integration (hosts in namespaces), end to end (VMs)"
	@echo "make test-fast  the tests that need no VM"
	@echo "make test-vagrant  the box under the real Vagrant, which it installs"
	@echo "make setup      install what is needed; leaves .venv/bin/freehold"

setup:
	@scripts/setup

demo: setup
	@.venv/bin/python scripts/demo.py up

demo-down: setup
	@.venv/bin/python scripts/demo.py down

# FREEHOLD_REQUIRE: a test that cannot run for want of root or a program fails instead of being skipped.
test-unit: setup
	env FREEHOLD_REQUIRE=unit $(PYTEST) -n 2 tests/unit

test-integration: setup
	$(SUDO) env FREEHOLD_REQUIRE=integration $(PYTEST) $(PARALLEL) tests/integration

# The lab's tests share machines and run in their order, in one of two workers; the other boots the images.
test-e2e: setup
	env FREEHOLD_REQUIRE=e2e $(PYTEST) -n 2 tests/e2e

# Two hours: the ways of booting that the suites above leave out, and arm64 on a PC.
test-every-boot:
	@scripts/setup arm64
	env FREEHOLD_REQUIRE=e2e FREEHOLD_EVERY_BOOT=1 $(PYTEST) tests/e2e/test_every_boot.py \
		tests/e2e/test_hypervisors.py tests/e2e/test_passt.py
	$(SUDO) env FREEHOLD_REQUIRE=integration FREEHOLD_EVERY_BOOT=1 $(PYTEST) tests/integration/test_vendor.py \
		tests/integration/test_mysql.py

# Two machines boot under Vagrant: minutes without KVM, so it is no part of `test`.
test-vagrant: setup
	$(SUDO) apt-get install -yq --no-install-recommends vagrant vagrant-libvirt
	$(SUDO) env FREEHOLD_REQUIRE=vagrant $(PYTEST) tests/e2e/test_vagrant.py

test-fast: test-unit test-integration

test: test-fast test-e2e

lint: setup
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && \
		.venv/bin/mypy --explicit-package-bases tests benchmarks scripts

lock:
	scripts/lock
