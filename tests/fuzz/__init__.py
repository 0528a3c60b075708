"""Inputs that nobody would write, and what every command must do with them.

A command ends with exit code 0, 2 or 130, and never with a traceback; code 2 comes with one line on
stderr that says what is wrong; nothing hangs, takes more memory than a small model needs, touches a
file that is not its own, or runs what it reads. `sandbox` runs a command and judges it, `damage`
makes the inputs, and one test module stands for each door: the configuration, the flags,
checkpoints, the files of a run, data, targets, and commands in any order.
"""
