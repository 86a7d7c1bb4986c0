"""One module a command of `apportion`: `configure(parser)` declares its arguments, `run(args)` does the work."""
