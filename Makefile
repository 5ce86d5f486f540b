# The two commands of the README are `make demo` and `make test`; both make .venv by themselves.
.PHONY: demo test test-toolchain check docs clean

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

demo: $(STAMP)
	$(PY) examples/demo.py

test: $(STAMP)
	$(PY) -m pytest -n auto -m "not toolchain"
	OPENAMP_PLAIN=1 $(PY) -m pytest -n auto -q -m "not toolchain" tests/unit tests/property tests/interop

test-toolchain: $(STAMP)
	$(PY) -m pytest -n auto -m toolchain
	$(MAKE) -C firmware check

check: $(STAMP)
	scripts/check

docs: $(STAMP)
	$(PY) -m sphinx -W --keep-going -q -b html docs build/docs && echo build/docs/index.html

clean:
	rm -rf $(VENV) build dist site
	find src -name '*.so' -delete

# The environment is made anew when what it is made from has changed; the extension is built in place.
$(STAMP): pyproject.toml scripts/make-venv $(wildcard src/openamp/*/*.pxd) src/openamp/virtio/virtqueue.py \
		src/openamp/rpmsg/rings.py src/openamp/platforms/emulated/_counter.pyx
	scripts/make-venv $(VENV)
	touch $@
