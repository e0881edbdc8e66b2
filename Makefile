# Two commands do everything on a fresh machine with python3 and make:
#   make validate   is this host fit to run virtual machines?
#   make test       do virtproof's own tests pass?

PYTHON ?= python3
OUT    ?= virtproof-report
export PYTHON

venv := .venv
bin  := $(venv)/bin

.PHONY: help validate test lint fuzz mutants lab bench bundle clean

help:
	@echo 'make validate   install virtproof in $(venv), check this host, write the reports to $(OUT)/'
	@echo 'make test       run the linters, the type checker and all tests'
	@echo 'make lint       run the linters and the type checker'
	@echo 'make fuzz       damage a million inputs of the parsers: only our own errors may come out'
	@echo 'make mutants    break the processor and the monitor in hundreds of ways: which cases notice?'
	@echo 'make lab        boot all lab hosts, check that virtproof names what is wrong with each, run the devices; boot the image'
	@echo 'make bundle     build dist/virtproof.pyz and dist/virtproof-collect.pyz, which need no installation'
	@echo 'make bench      measure, against C programs that do the same'
	@echo 'make clean      remove what the others made'

# The run is a success when it was done and reported; the verdict (0, 3, 5) is on the screen.
validate: $(venv)/installed
	@$(bin)/virtproof check --out '$(OUT)' || case $$? in 3|5) ;; *) exit 1 ;; esac

test: lint
	$(bin)/python -m pytest

lint: $(venv)/installed-dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

# Each test of tests/fuzz takes its number of inputs from here; the streams among them take a hundred times as many.
FUZZ ?= 10000

fuzz: $(venv)/installed-dev
	VIRTPROOF_FUZZ=$(FUZZ) $(bin)/python -m pytest tests/fuzz

mutants: $(venv)/installed-dev
	$(bin)/python -m tests.mutants

# What our devices do behind the real kvm_amd and kvm_intel: their exits, interrupts and slots.
DEVICE_AREAS := bus dma firmware irq_routing rtc_pm e1000 vmxnet3 virtio scsi_lsi scsi_pvscsi hostile

lab: $(venv)/installed-dev
	@.ci/prepare qemu-system-x86 xorriso binutils zstd mtools grub-pc-bin grub-efi-amd64-bin ovmf dosfstools e2fsprogs
	$(bin)/virtproof lab build bochs
	$(bin)/virtproof lab run all
	$(bin)/virtproof lab run amd-npt intel-ept $(DEVICE_AREAS:%=--area %)
	VIRTPROOF_LAB=all $(bin)/python -m pytest tests/lab/image

bundle: $(venv)/installed-dev
	@.ci/prepare gcc binutils
	$(bin)/python bundle/build.py --out dist

bench: $(venv)/installed-dev
	$(bin)/python benchmarks/run.py
	$(bin)/python benchmarks/snapshots.py
	$(bin)/python benchmarks/software.py
	$(bin)/python benchmarks/nic_e1000.py
	$(bin)/python benchmarks/nic_vmxnet3.py
	$(bin)/python benchmarks/nic_virtio.py
	$(bin)/python benchmarks/scsi.py

clean:
	rm -rf $(venv) build dist

$(bin)/python:
	@.ci/prepare gcc binutils python3-venv
	$(PYTHON) -m venv $(venv)

$(venv)/installed: $(bin)/python pyproject.toml
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[software]'
	@touch $@

$(venv)/installed-dev: $(bin)/python pyproject.toml
	@.ci/prepare gcc libc6-dev
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,software]'
	@touch $@ $(venv)/installed
