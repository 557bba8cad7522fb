"""RoboCasa: its 24 atomic tasks, done by any policy that ``vipa serve`` serves. Needs no torch; see the README."""
