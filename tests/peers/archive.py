"""Debian's Orthanc with its DICOMweb plugin, in a folder and on ports of its own."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from dicomweb_client.api import DICOMwebClient
from waiting import free_port, wait_for

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AE_TITLE = "ORTHANC"

# Everything that becomes stable is forwarded, the node's own answers too: it must know them again.
FORWARD_EVERYTHING = """
function OnStableSeries(seriesId, tags, metadata)
   local body = DumpJson({ Resources = { seriesId }, Synchronous = false }, true)
   RestApiPost('/modalities/qcnode/store', body, true)
end
"""


class Archive:
    """An Orthanc that runs; `forward` is the Lua text of its forwarding rule, "" forwards nothing."""

    def __init__(self, folder: Path, forward: str = "") -> None:
        self.dicom_port, self.http_port = free_port(), free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "forward.lua").write_text(forward)
        settings = {
            "Name": "peer",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "Plugins": [str(PLUGIN)],
            "LuaScripts": [str(folder / "forward.lua")] if forward else [],
            "DicomAet": AE_TITLE,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": False,
            "StableAge": 2,
            "ConcurrentJobs": 2,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._log = (folder / "orthanc.log").open("wb")
        # Orthanc's network layer is DCMTK: without this a message waits for the peer's delayed acknowledgement
        environment = os.environ | {"TCP_NODELAY": "1"}
        program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        command = [program, str(folder / "orthanc.json")]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, env=environment)
        wait_for(self._answers, 60, "Orthanc to answer", explain=self.log_tail)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def dicomweb_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    @property
    def dicomweb(self) -> DICOMwebClient:
        return DICOMwebClient(self.dicomweb_url, timeout=60)

    def knows_node(self, ae_title: str, port: int) -> None:
        """Tell the archive where the node is: the modality `qcnode` that the forwarding rule names."""
        self.rest("PUT", "/modalities/qcnode", {"AET": ae_title, "Host": "127.0.0.1", "Port": port})

    def rest(self, method: str, path: str, content: Any = None) -> Any:
        body = content if isinstance(content, bytes) else json.dumps(content).encode() if content is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            said = reply.read()
        return json.loads(said) if said else None

    def upload(self, folder: Path) -> int:
        """Store every file of a folder by the archive's own interface; returns how many there were."""
        paths = sorted(p for p in folder.rglob("*.dcm"))
        for path in paths:
            self.rest("POST", "/instances", path.read_bytes())
        return len(paths)

    def series(self, study_instance_uid: str) -> list[dict[str, Any]]:
        """The main tags of a study's series, with `Instances`, the archive's names of them."""
        query = {"Level": "Series", "Expand": True, "Query": {"StudyInstanceUID": study_instance_uid}}
        return [s["MainDicomTags"] | {"Instances": s["Instances"]} for s in self.rest("POST", "/tools/find", query)]

    def jobs(self) -> list[dict[str, Any]]:
        return self.rest("GET", "/jobs?expand")

    def log_tail(self) -> str:
        return "\n".join((self.folder / "orthanc.log").read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
        self._log.close()

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"Orthanc ended with {self._process.returncode}\n{self.log_tail()}")
        try:
            return bool(self.rest("GET", "/system"))
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
            return False
