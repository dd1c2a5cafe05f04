"""Stand-ins for what a cluster has, each keeping the contract of the real one."""
