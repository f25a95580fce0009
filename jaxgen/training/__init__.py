from jaxgen import xla_cpu

xla_cpu.protect()  # again: beside a clone called jaxgen, jaxgen/__init__.py does not run
