"""Every command that writes, stopped at every file operation it makes: killed, interrupted, or on a
full disk.

Afterwards the same command is carried out, with the result of one that was never stopped; what was
there before is there still; and nothing half made is left behind. `points` stops a command,
`requests` lists the commands.
"""
