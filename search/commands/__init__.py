"""One module a command of `apportion`: `configure(parser)` declares arguments, `run(args)` does the work."""
