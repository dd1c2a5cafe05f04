"""Stand-ins for the services of a cluster; each follows the contract of the real one."""
