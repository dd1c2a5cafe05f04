#!/bin/sh
exec mariadb-admin --no-defaults --socket=/tmp/mariadb.sock ping
