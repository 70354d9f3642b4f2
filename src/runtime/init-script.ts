/**
 * The container's PID 1: a POSIX shell that starts the app, reaps orphans and records the app's
 * exit code. 110 KB of its own memory, no fork but the app's.
 */

/**
 * `$0` is the run directory, `$1` the `mount` program, the rest the app's words.
 * Descriptor 3 is the socket to the daemon, 4 the /proc of the host.
 *
 * - It waits for one line, so that no app runs unless the daemon has it on record: when the daemon
 *   dies first, the read ends and so does the container.
 * - The app is a child, not PID 1, so that signals it does not handle still end it; in the
 *   foreground, because a shell makes a background child ignore SIGINT and SIGQUIT.
 * - `wait4(-1)` inside that foreground wait reaps the orphans.
 * - Its standard error is closed to keep the shell's own "Terminated" out of the app's log.
 * - The app's host pid comes from the host's /proc, reached through a descriptor: names in the
 *   container's own /proc are those of its PID namespace.
 * - SIGPIPE is ignored while reporting, or a daemon that died would take the app with it.
 */
export const INIT_SCRIPT = `read -r __portolan_proc <&3 || exit 125
if [ "$__portolan_proc" = mount ] && ! "$1" -n -t proc -o nosuid,nodev,noexec proc /proc
then echo failed >&3; exit 125
fi
exec 5>&2 2>/dev/null
(
  exec 2>&5 5>&-
  IFS=' ' read -r __portolan_pid __portolan_rest </proc/self/fd/4/self/stat
  trap '' PIPE
  echo "$__portolan_pid" >"$0/app"
  echo "$__portolan_pid" >&3
  trap - PIPE
  exec 3>&- 4<&-
  unset __portolan_proc __portolan_pid __portolan_rest PWD OLDPWD
  umask 022
  shift
  exec "$@"
)
__portolan_code=$?
echo $__portolan_code >"$0/exit"
exit $__portolan_code
`
