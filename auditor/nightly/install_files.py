"""The files that run `auditor nightly` from systemd, cron or Kubernetes.

They are made for one configuration, and printed, never written.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from auditor.config import NightlySettings
from auditor.fast_dataclass import dataclass
from auditor.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """What the files are made for.

    `program` starts auditor (an absolute path, and arguments of an interpreter),
    `config` is the absolute path of its configuration,
    `files` are those of the other files that it names, without `password_files`.
    `variables` are the environment variables that the configuration reads, `writable`
    the folders of files that it writes outside of its own folder.
    """

    program: Sequence[str]
    config: str
    settings: NightlySettings
    variables: Sequence[str]
    files: Sequence[str] = ()
    password_files: Sequence[str] = ()
    writable: Sequence[str] = ()


# The user of cron, and of systemd where its own state directory is not used.
_USER = "auditor"
_STATE_DIRECTORY = "/var/lib/auditor"


def systemd_text(plan: InstallPlan) -> str:
    """A hardened service and a timer, each after a comment with its path."""
    settings = ["EnvironmentFile=/etc/auditor/environment"] if plan.variables else []
    # A dynamic user can write to its own directories only.
    has_state = Path(plan.settings.folder).is_relative_to(_STATE_DIRECTORY)
    elsewhere = _elsewhere(plan)
    is_dynamic = has_state and not elsewhere
    user = ["DynamicUser=yes" if is_dynamic else f"User={_USER}"]
    if has_state:
        user.append("StateDirectory=auditor")
    writable = [*elsewhere, *([] if has_state else [plan.settings.folder])]
    if writable:
        paths = " ".join(sorted(map(_systemd_path, writable)))
        user.append(f"ReadWritePaths={paths}")
    lines = [
        *_variables_comment("/etc/auditor/environment, mode 600", plan.variables),
        "# /etc/systemd/system/auditor-nightly.service",
        "[Unit]",
        "Description=Audit of container registries",
        "Wants=network-online.target",
        "After=network-online.target",
        "# Also for exit code 1: references failed, or the policy is violated.",
        f"OnFailure={_FAILURE_UNIT}",
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecStart={' '.join(map(_systemd_path, plan.program))} nightly -c"
        f" {_systemd_path(plan.config)}",
        *settings,
        *_credentials(plan.password_files),
        *user,
        "CacheDirectory=auditor",
        "Environment=XDG_CACHE_HOME=%C/auditor",
        *_HARDENING,
        "",
        f"# /etc/systemd/system/{_FAILURE_UNIT}",
        "[Unit]",
        "Description=Mail about a night that needs somebody",
        "",
        "[Service]",
        "Type=oneshot",
        # %H is the host's name (systemd.unit(5)).
        "ExecStart=/bin/sh -c 'journalctl --unit=auditor-nightly.service --lines=20"
        ' --output=cat --no-pager | mail -s "auditor nightly on %H" root\'',
        "",
        "# /etc/systemd/system/auditor-nightly.timer",
        "[Unit]",
        "Description=Nightly audit of container registries",
        "",
        "[Timer]",
        "OnCalendar=*-*-* 02:00:00",
        "RandomizedDelaySec=15m",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
        "# Enable it:",
        *([] if is_dynamic else _user_commands(plan)),
        "#   systemctl daemon-reload",
        "#   systemctl enable --now auditor-nightly.timer",
        "#   systemctl start auditor-nightly.service   # one night now",
    ]
    return "\n".join(lines) + "\n"


_FAILURE_UNIT = "auditor-nightly-failure.service"
# Where a system service finds its credentials (systemd.exec(5), LoadCredential=).
_CREDENTIALS = Path("/run/credentials/auditor-nightly.service")


def _credentials(files: Sequence[str]) -> list[str]:
    """The service may read a password file that only root can read.

    A file that the configuration names elsewhere is to be named there instead.
    """
    lines = []
    for file in map(Path, files):
        credential = _CREDENTIALS / file.name
        if file != credential:
            lines.append(f'# In the configuration: password_file = "{credential}"')
        source = Path("/etc/auditor", file.name) if file == credential else file
        lines.append(f"LoadCredential={file.name}:{_systemd_path(str(source))}")
    return lines


# systemd.exec(5). `systemd-analyze security` rates the service with these.
_HARDENING = (
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "PrivateUsers=yes",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=read-only",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "UMask=0027",
)


def cron_text(plan: InstallPlan) -> str:
    """A file for /etc/cron.d; cron mails what a night prints."""
    words = [*plan.program, "nightly", "-c", plan.config]
    command = shlex.join(words)
    source = "set -a; . /etc/auditor/environment; " if plan.variables else ""
    now = ["sh", "-c", source + command] if source else words
    lines = [
        *_variables_comment(
            f"/etc/auditor/environment, owned by {_USER}, mode 600", plan.variables
        ),
        "# /etc/cron.d/auditor",
        "MAILTO=root",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        # crontab(5): a % that is not escaped ends the command.
        f"0 2 * * *  {_USER}  {source}" + command.replace("%", r"\%"),
        "",
        "# Enable it:",
        *_user_commands(plan),
        f"#   sudo -u {_USER} {shlex.join(now)}   # one night now",
    ]
    return "\n".join(lines) + "\n"


def kubernetes_text(plan: InstallPlan) -> str:
    """A CronJob with its volume, for an image of auditor in your registry."""
    name = "auditor-nightly"
    environment = [
        line
        for variable in plan.variables
        for line in (
            f"                - name: {variable}",
            "                  valueFrom:",
            "                    secretKeyRef:",
            f"                      name: {name}",
            f"                      key: {variable}",
        )
    ]
    lines = [
        f"# {name}.yaml: the folder in the configuration must be /var/lib/auditor.",
        *_MANIFESTS.format(
            name=name, version=__version__, config=Path(plan.config).name
        ).splitlines(),
    ]
    if environment:
        at = lines.index("              volumeMounts:")
        lines[at:at] = ["              env:", *environment]
    secret = " ".join(f"--from-literal={one}=..." for one in plan.variables)
    files = " ".join(
        f"--from-file={shlex.quote(file)}" for file in (plan.config, *plan.files)
    )
    lines += [
        "# Enable it:",
        f"#   kubectl create configmap {name} {files}",
        *([f"#   kubectl create secret generic {name} {secret}"] if secret else []),
        f"#   kubectl apply -f {name}.yaml",
        f"#   kubectl create job --from=cronjob/{name} {name}-now   # one night now",
    ]
    return "\n".join(lines) + "\n"


_MANIFESTS = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {name}
automountServiceAccountToken: false
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {name}
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 10Gi
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: "0 2 * * *"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      # The next night continues; a retry at once would only ask a dead registry again.
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          serviceAccountName: {name}
          automountServiceAccountToken: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            fsGroup: 65532
            seccompProfile:
              type: RuntimeDefault
          containers:
            - name: auditor
              image: registry.example.com/auditor:{version}
              args: [nightly, -c, /etc/auditor/{config}]
              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities:
                  drop: [ALL]
              resources:
                requests:
                  cpu: 250m
                  memory: 256Mi
                limits:
                  memory: 1Gi
              volumeMounts:
                - name: config
                  mountPath: /etc/auditor
                  readOnly: true
                - name: state
                  mountPath: /var/lib/auditor
                - name: tmp
                  mountPath: /tmp
          volumes:
            - name: config
              configMap:
                name: {name}
            - name: state
              persistentVolumeClaim:
                claimName: {name}
            - name: tmp
              emptyDir: {{}}
"""

INSTALL_TEXTS: Mapping[str, Callable[[InstallPlan], str]] = {
    "systemd": systemd_text,
    "cron": cron_text,
    "kubernetes": kubernetes_text,
}


def _user_commands(plan: InstallPlan) -> list[str]:
    """The commands that make the user and let it write to its folders.

    Others, such as that of node_exporter, may exist and belong to somebody else.
    """
    return [
        f"#   useradd --system --user-group {_USER}",
        f"#   install -d -o {_USER} {shlex.quote(plan.settings.folder)}",
        *(
            f"#   mkdir -p {folder} && chgrp {_USER} {folder} && chmod g+w {folder}"
            for folder in map(shlex.quote, _elsewhere(plan))
        ),
    ]


def _elsewhere(plan: InstallPlan) -> list[str]:
    """The folders that are written outside of the state directory and the folder."""
    own = (_STATE_DIRECTORY, plan.settings.folder)
    return [
        folder
        for folder in sorted(set(plan.writable))
        if not any(Path(folder).is_relative_to(one) for one in own)
    ]


def _variables_comment(file: str, variables: Sequence[str]) -> list[str]:
    if not variables:
        return []
    return [f"# {file}:", *(f"#   {variable}='...'" for variable in variables), ""]


def _systemd_path(path: str) -> str:
    """A path in a unit file (systemd.service(5), "Command lines")."""
    escaped = path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if " " in escaped else escaped
