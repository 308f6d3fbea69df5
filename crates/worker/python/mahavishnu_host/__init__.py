"""The engine host: the warm process in which an engine runs the attempts of one worker.

The contract with the worker is `PROTOCOL.md` beside this package. Standard library only, Python 3.10
and later, so that it runs untouched in a user's own environment.
"""
