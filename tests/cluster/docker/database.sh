#!/bin/sh
# MariaDB with the variables of its official image: MARIADB_DATABASE, MARIADB_USER, MARIADB_PASSWORD.
# Without a user, root may connect from everywhere without a password, as Kubeflow's own MySQL does.
set -eu
data=/var/lib/mysql
[ -d "$data/mysql" ] || mariadb-install-db --datadir="$data" --skip-test-db --auth-root-authentication-method=normal >/dev/null
{
  if [ -n "${MARIADB_USER:-}" ]; then
    echo "CREATE DATABASE IF NOT EXISTS \`$MARIADB_DATABASE\`;"
    echo "CREATE USER IF NOT EXISTS '$MARIADB_USER'@'%' IDENTIFIED BY '$MARIADB_PASSWORD';"
    echo "GRANT ALL ON \`$MARIADB_DATABASE\`.* TO '$MARIADB_USER'@'%';"
  else
    echo "CREATE USER IF NOT EXISTS 'root'@'%';" # one statement a line
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
  fi
} >/tmp/init.sql
exec mariadbd --no-defaults --datadir="$data" --socket=/tmp/mariadb.sock --pid-file=/tmp/mariadb.pid \
  --bind-address=0.0.0.0 --init-file=/tmp/init.sql "$@"
