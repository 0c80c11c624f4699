"""A worker: a process that imports the application's code and runs jobs. It never touches claims."""
