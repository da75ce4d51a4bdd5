"""The records of one folder of results: what is there already, and keeping what is made."""

from dataclasses import dataclass
from pathlib import Path

from eval.config import AUTO, RunConfig
from eval.errors import RunError
from eval.inference.engines.registry import ENGINES
from eval.records.record import Record, Settings
from eval.records.store import RECORDS_FOLDER, by_key, read_records, write_record
from eval.run.environment import library_versions
from eval.run.keys import hash_of
from eval.run.observer import Observer
from eval.run.tasks import is_final, making_of
from eval.zoo.model_info import ModelInfo

LOGS_FOLDER = "logs"


@dataclass(frozen=True)
class Keeper:
    """Reads and writes the records of a folder of results; ``Launch`` says what its fields mean."""

    save_dir: Path | None
    images_dir: Path | None
    redo: bool
    observer: Observer

    def known(self) -> list[Record]:
        """Return all records of the folder, oldest first."""
        return read_records(self.save_dir / RECORDS_FOLDER) if self.save_dir else []

    def beside_images(self) -> list[Record]:
        """Return all records that tell whose images lie where SR images are written, oldest first."""
        if self.images_dir is None or self.images_dir == self.save_dir:
            return self.known()
        found = [*self.known(), *read_records(self.images_dir / RECORDS_FOLDER)]
        return sorted(found, key=lambda record: record.started_at)

    def answers(self) -> dict[str, Record]:
        """Return the records of former commands that answer their tasks, by key."""
        known = {} if self.redo else by_key(self.known())
        return {key: record for key, record in known.items() if is_final(record) and self._has_its_images(record)}

    def _has_its_images(self, record: Record) -> bool:
        """Tell whether the SR images that a run wrote are still there, if they are asked for."""
        folder = record.images_folder and self.images_dir and self.images_dir / record.images_folder
        return not folder or all((folder / f"{image.name}.png").is_file() for image in record.images)

    def store(self, record: Record) -> None:
        """Keep a record and say what is not complete; its figures are told if it cannot be written.

        Raises:
            RunError: it could not be written.
        """
        if not record.complete:
            self.observer.warn(f"{record.model.label} on {record.dataset.name} {record.outcome}")
        if self.save_dir is not None:
            self._write(record, self.save_dir)

    def _write(self, record: Record, save_dir: Path) -> None:
        try:
            path = write_record(record, save_dir / RECORDS_FOLDER)
        except OSError as error:
            self.observer.failed_to_store(record)
            raise RunError(f"the record of these figures could not be written: {error}") from error
        if not record.complete and record.images:
            self.observer.warn(f"what was finished is in {path}")
        if record.traceback:
            self._write_log(save_dir / LOGS_FOLDER / f"{path.stem}.log", record.traceback)

    def _write_log(self, log: Path, text: str) -> None:
        try:
            log.parent.mkdir(exist_ok=True)
            log.write_text(text, encoding="utf-8")
        except OSError as error:
            self.observer.warn(f"where it came from could not be written ({error}); the record holds it")
            return
        self.observer.warn(f"where it came from is in {log}")

    def engine_taken_before(self, info: ModelInfo, config: RunConfig) -> Settings | None:
        """Return the settings with what ``auto`` took for this model before, asked alike: its word stays.

        It is none where the network, the code, its libraries or the machine are others than they were.
        """
        if self.redo:
            return None
        for record in reversed(self.known()):
            decided = record.complete and record.settings.engine_asked == AUTO
            if decided and _asked_alike(record, config) and _made_alike(record, info, config):
                return record.settings
        return None


def _asked_alike(record: Record, config: RunConfig) -> bool:
    return record.config is not None and _besides_engine(record.config) == _besides_engine(config)


def _besides_engine(config: RunConfig) -> tuple:
    tf32 = None if "tf32" in config.idle else config.tf32
    return config.device, config.precision, tf32, config.tile, config.tile_overlap, config.threads_each


def _made_alike(record: Record, info: ModelInfo, config: RunConfig) -> bool:
    """Tell whether a record was made of what would be run now, by the libraries that are here."""
    engine, images = record.settings.engine, (record.dataset.name, record.dataset.sha256)
    versions = library_versions()
    if engine not in ENGINES or versions != {name: getattr(record.environment, name) for name in versions}:
        return False
    return record.figures_key == hash_of(making_of(info, images, config.replaced(engine=engine)))
