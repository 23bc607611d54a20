"""Coverage-guided fuzzing of everything that reads bytes from outside.

A `Target` hands bytes to one parser and says what may come of it. `python -m fuzzing` runs all of them under atheris for a bounded time,
`fuzzing.probe` one, and `fuzzing.corpus` keeps the inputs that reach far, so that each run starts where the last one ended.
"""
