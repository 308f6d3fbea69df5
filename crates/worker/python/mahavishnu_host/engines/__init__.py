"""One module per engine. Each has `NAME`, `PACKAGES`, `prewarm()` and `async run(task, link)`."""
