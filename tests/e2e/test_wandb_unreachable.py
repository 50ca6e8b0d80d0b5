"""W&B in online mode without its server: training goes on, and `gatewise sync` uploads it later."""

from __future__ import annotations

import socket

import pytest
from wandb_server import ACCOUNT, serving
from workplace import Place, finish, wait_for_line

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.runs.unsent import UNSENT, unsent

SHORT = ["trainer.max_epochs=2", "trainer.limit_train_batches=2", "test=false"]
ONLINE = ["wandb.mode=online", *SHORT]


def dead() -> dict[str, str]:
    """The environment of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {**ACCOUNT, "WANDB_BASE_URL": f"http://127.0.0.1:{free.getsockname()[1]}"}


def finished(process) -> str:
    out = finish(process)
    assert process.returncode == 0, out
    return out


def losses(history) -> list[float]:
    return [row["val/loss"] for row in history if "val/loss" in row]


def stored(run: Run) -> list[float]:
    return [pytest.approx(row["val/loss"]) for row in read_metrics(run.metrics_file)]


@pytest.mark.slow
def test_a_training_goes_on_without_the_server_and_is_uploaded_later(place: Place) -> None:
    nowhere = dead()
    out = finished(place.start("train", *ONLINE, **nowhere, WANDB_INIT_TIMEOUT="2"))
    run = place.last()
    assert (
        f"W&B cannot be reached, training goes on offline: upload later with gatewise sync run={run.folder}"
        in out
    )
    assert "Traceback" not in out
    assert run.state() == "done"
    (folder,) = unsent(run)

    process = place.start("sync", **nowhere)
    out = finish(process)
    assert process.returncode == 1
    assert out.count("\n") == 1
    assert f"W&B at {nowhere['WANDB_BASE_URL']} cannot be reached" in out
    assert unsent(run) == [folder]

    other = place.train(*SHORT, "seed=2", "wandb.mode=offline")
    with serving() as server:
        finished(place.start("sync", "jobs=2", **server.environment))
        assert set(server.history) == {run.id, other.id}
        for each in (run, other):
            assert losses(server.history[each.id]) == stored(each)
            assert unsent(each) == []
        assert "Nothing to upload" in finished(place.start("sync", **server.environment))
        assert len(losses(server.history[run.id])) == 2


@pytest.mark.slow
def test_a_server_that_goes_away_while_it_is_trained(place: Place) -> None:
    with serving() as server:
        port, environment = server.server_port, server.environment
        process = place.start(
            "train", "wandb.mode=online", "trainer.max_epochs=60", "test=false", **environment
        )
        wait_for_line(process, "epoch 3/")
    out = finished(process)
    run = place.last()
    assert "W&B does not answer" in out
    (folder,) = unsent(run)
    assert (folder / UNSENT).is_file()
    with serving(port) as server:
        finished(place.start("sync", f"run={run.folder}", **environment))
        assert losses(server.history[run.id]) == stored(run)
    assert unsent(run) == []


@pytest.mark.slow
def test_a_run_that_was_sent_is_not_sent_again(place: Place) -> None:
    with serving() as server:
        finished(place.start("train", *ONLINE, **server.environment))
        run = place.last()
        assert losses(server.history[run.id]) == stored(run)
        assert unsent(run) == []


@pytest.mark.slow
def test_weights_and_results_go_up_from_where_they_are_and_the_rest_from_elsewhere(place: Place) -> None:
    run = place.train("trainer.max_epochs=2", "wandb.mode=offline", "wandb.artifact=best")
    elsewhere = Run(place.folder / "elsewhere" / run.id)
    with serving() as server:
        finished(place.start("sync", f"run={run.folder}", **server.environment))
        assert sorted(given["artifactTypeName"] for given in server.artifacts) == ["model", "run_table"]
        assert (len(server.committed), unsent(run)) == (2, [])
        assert {"best.ckpt", "results.table.json"} <= set(server.files)
        server.committed.clear()
        server.history.clear()
        elsewhere.folder.parent.mkdir()
        run.folder.rename(elsewhere.folder)
        for sent in elsewhere.folder.rglob("*.wandb.synced"):
            sent.unlink()
        finished(place.start("sync", f"run={elsewhere.folder}", **server.environment))
        assert losses(server.history[run.id]) == stored(elsewhere)
        assert (server.committed, unsent(elsewhere)) == ([], [])


@pytest.mark.slow
def test_an_account_is_asked_for_before_training(place: Place) -> None:
    place.folder.mkdir(exist_ok=True)
    home = {
        "HOME": str(place.folder),
        "NETRC": str(place.folder / "none"),
        "WANDB_BASE_URL": dead()["WANDB_BASE_URL"],
    }
    process = place.start("train", *ONLINE, **home)
    out = finish(process)
    assert process.returncode == 1
    assert "gatewise: error: wandb.mode=online: No API key configured" in out
    assert "Traceback" not in out
    assert "epoch 1/" not in out


def test_a_run_that_is_being_trained_is_left_out(place: Place) -> None:
    run = place.train(*SHORT, "wandb.mode=offline")
    run.set_status("running")
    with run.lock():
        out = place.ok("sync", "run=last").out
    assert out == f"{run.folder}: is being trained, left out\nNothing to upload.\n"
    assert len(unsent(run)) == 1
