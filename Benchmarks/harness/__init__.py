"""The comparison of `make bench`: one idea a module, from the table of rows to the page that is written.

rows.py       what is measured, against what, with which target: the only table
intervals.py  the interval of a median, and the verdict that follows
programs.py   what is built and where; a peer that cannot be built is named
machine.py    what the machine is, what else runs on it, a load of our own
cells.py      one measurement: a program, a directory, a few seconds
rounds.py     the order of measurements, and which are repeated
results.py    every repetition, kept as a table of text
report.py     the part of docs/performance.md that is written
plot.py       the picture of it
"""
