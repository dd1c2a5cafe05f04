#!/bin/sh
# bin/jobmanager.sh and bin/taskmanager.sh of Flink's distribution, which no package contains.
set -eu
flink=org.apache.flink.runtime
case "$(basename "$0")" in
  jobmanager.sh) kind=JM; main=$flink.entrypoint.StandaloneSessionClusterEntrypoint ;;
  taskmanager.sh) kind=TM; main=$flink.taskexecutor.TaskManagerRunner ;;
esac
config="--configDir /opt/flink/conf"
java="java -cp /opt/flink/lib/*:/opt/flink/lib/beam/* $(grep -o -e '--add-[^ ]*' /opt/flink/conf/config.yaml | tr '\n' ' ')"
set -f # java expands the class path itself
options=$($java $flink.util.bash.BashJavaUtils "GET_${kind}_RESOURCE_PARAMS" $config |
  sed -n 's/^BASH_JAVA_UTILS_EXEC_RESULT://p')
exec $java $(echo "$options" | sed -n 1p) "$main" $config $(echo "$options" | sed -n 2p)
