import logging
import re
from pathlib import Path

import pytest

from periogt_ray.errors import SettingsError
from periogt_ray.settings import (
    EMBEDDED_DIR,
    RENAMED,
    VARIABLES,
    ServiceSettings,
    Settings,
    older_variables,
    unknown_variables,
)


def test_defaults_need_nothing_to_exist(tmp_path: Path) -> None:
    settings = Settings.from_env({"HOME": str(tmp_path)})
    assert settings.base_dir == tmp_path / "periogt"
    assert settings.results_dir == tmp_path / "periogt" / "results"
    assert settings.checkpoint_dir == EMBEDDED_DIR
    assert settings.is_embedded
    assert (settings.device, settings.host, settings.port, settings.api_key) == (None, "0.0.0.0", 8000, None)


def test_artifacts_below_the_base_directory_are_taken(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert Settings.from_env({"PERIOGT_BASE_DIR": str(tmp_path)}).is_embedded
    (tmp_path / "checkpoints" / "pretrained_ckpt").mkdir()
    settings = Settings.from_env({"PERIOGT_BASE_DIR": str(tmp_path)})
    assert settings.checkpoint_dir == tmp_path / "checkpoints"
    assert not settings.is_embedded


@pytest.mark.parametrize("name", ["PERIOGT_BASE_DIR", "PERIOGT_CHECKPOINT_DIR", "PERIOGT_RESULTS_DIR"])
def test_a_set_but_missing_directory_is_an_error(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "absent"
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_env({"HOME": str(tmp_path), name: str(missing)})
    assert str(missing) in caught.value.message
    assert caught.value.exit_code == 2
    missing.write_text("")
    with pytest.raises(SettingsError, match="it is a file"):
        Settings.from_env({"HOME": str(tmp_path), name: str(missing)})


def test_setup_may_name_a_directory_that_it_will_make(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PERIOGT_CHECKPOINT_DIR": str(tmp_path / "new")}
    assert Settings.from_env(env, makes_checkpoints=True).checkpoint_dir == tmp_path / "new"
    assert Settings.from_env({"HOME": str(tmp_path)}, makes_checkpoints=True).checkpoint_dir == (
        tmp_path / "periogt" / "checkpoints"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PERIOGT_DEVICE", "gpu"),
        ("PERIOGT_PORT", "http"),
        ("PERIOGT_PORT", "70000"),
        ("PERIOGT_PORT", "nan"),
        ("PERIOGT_PORT", "80.7"),
        ("PERIOGT_MIRROR", "http://[bad"),
        ("PERIOGT_MIRROR", "http://host:99999"),
        ("PERIOGT_MIRROR", "file:///etc"),
        ("PERIOGT_DESCRIPTORS", "rdkit"),
        ("PERIOGT_WEIGHTS_GB", "-1"),
        ("PERIOGT_PRECISION", "half"),
        ("PERIOGT_MIN_DRIVER", "abc"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"{name} is '{value}'; expected")):
        Settings.from_env({"HOME": str(tmp_path), name: value})


def test_values_are_read(tmp_path: Path) -> None:
    env = {
        "HOME": str(tmp_path),
        "PERIOGT_DEVICE": "CPU",
        "PERIOGT_PORT": "9000",
        "PERIOGT_HOST": "127.0.0.1",
        "PERIOGT_WEIGHTS_GB": "0.5",
        "PERIOGT_RESULTS_DIR": "",
    }
    settings = Settings.from_env(env)
    assert (settings.device, settings.port, settings.host) == ("cpu", 9000, "127.0.0.1")
    assert settings.weights_bytes == 1 << 29
    assert settings.results_dir == tmp_path / "periogt" / "results"


def test_one_line_has_paths_device_and_what_is_not_by_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    home = {"HOME": str(tmp_path)}
    Settings.from_env(home).log()
    base = tmp_path / "periogt"
    assert caplog.messages[0] == (
        f"Settings: base_dir={base}, checkpoint_dir={EMBEDDED_DIR}, results_dir={base / 'results'}, "
        "device=to be detected"
    )
    caplog.clear()
    Settings.from_env({**home, "PERIOGT_DEVICE": "cpu", "PERIOGT_PORT": "8001", "PERIOGT_MAX_BATCH": "4"}).log()
    assert caplog.messages[0].endswith(", device=cpu, port=8001, max_batch=4")
    assert "min_driver" not in caplog.text


def test_verbose_logs_every_value_and_the_key_never(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.from_env({"HOME": str(tmp_path), "PERIOGT_API_KEY": "s3cret"})
    assert settings.api_key == "s3cret"
    with caplog.at_level(logging.DEBUG):
        settings.log()
    assert "s3cret" not in caplog.text + repr(settings) + str(settings)
    assert "api_key=***" in caplog.messages[0]
    assert "min_driver=560.28" in caplog.messages[1]
    assert "max_queue=256" in caplog.messages[1]
    assert "embedded compact model" in caplog.text


def test_variables_of_the_older_layout_get_one_note() -> None:
    env = {"PERIOGT_SRC_DIR": "/src", "PERIOGT_RUNTIME_PACKAGE_DIR": "", "PERIOGT_PORT": "1"}
    note = older_variables(env)
    assert note is not None
    assert note.startswith("PERIOGT_RUNTIME_PACKAGE_DIR and PERIOGT_SRC_DIR: set, but not needed")
    assert older_variables({"PERIOGT_PORT": "1"}) is None


def test_unknown_names_get_the_nearest_valid_one() -> None:
    env = {"PERIOGT_CHEKPOINT_DIR": "x", "PERIOGT_PORT": "1", "HOME": "/", "PERIOGT_SRC_DIR": "y"}
    warnings = unknown_variables(env)
    assert "PERIOGT_CHEKPOINT_DIR" in warnings[0]
    assert "did you mean PERIOGT_CHECKPOINT_DIR?" in warnings[0]
    assert len(warnings) == 1, "a variable of the older layout is no misspelt one"
    assert unknown_variables(dict.fromkeys(VARIABLES, "1")) == []


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_still_works_and_names_the_new_one(tmp_path: Path, old: str, new: str) -> None:
    value, other = (str(tmp_path), "/other") if new == "PERIOGT_FEATURE_STORE" else ("7", "8")
    tmp_path.chmod(0o700)
    home = {"HOME": str(tmp_path)}
    settings = Settings.from_env({**home, new: value})
    assert settings != Settings.from_env(home)
    assert Settings.from_env({**home, old: value}) == settings
    assert Settings.from_env({**home, old: value, new: ""}) == settings
    assert Settings.from_env({**home, old: other, new: value}) == settings
    [warning] = unknown_variables({old: value})
    assert warning == f"{old} still works until the next minor release; its new name is {new}."
    [warning] = unknown_variables({old: other, new: value})
    assert warning == f"{old} is not used; its new name is {new}."


def test_a_mirror_s_password_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="netrc") as caught:
        Settings.from_env({"HOME": str(tmp_path), "PERIOGT_MIRROR": "http://user:s3cret@host/"})
    assert "s3cret" not in str(caught.value)


def test_the_home_of_a_user_who_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PERIOGT_BASE_DIR"):
        Settings.from_env({"HOME": str(tmp_path), "PERIOGT_BASE_DIR": "~nosuchuser/x"})


@pytest.mark.parametrize("key", ["secret ", " secret", "sec ret", "secret\n", "sécret"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError, match="PERIOGT_API_KEY") as caught:
        Settings.from_env({"HOME": str(tmp_path), "PERIOGT_API_KEY": key})
    assert key.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["PERIOGT_PREDICTORS", "PERIOGT_FEATURIZERS", "PERIOGT_MAX_BATCH", "PERIOGT_MAX_QUEUE"]
)
def test_counts_are_whole_numbers(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '100.5'; expected a whole number"):
        Settings.from_env({"HOME": str(tmp_path), name: "100.5"})


def test_bounds_of_the_service(tmp_path: Path) -> None:
    settings = Settings.from_env({"HOME": str(tmp_path)})
    assert settings.service == ServiceSettings()
    given = {
        "PERIOGT_MAX_BATCH": "32",
        "PERIOGT_BATCH_WAIT_MS": "2.5",
        "PERIOGT_MAX_QUEUE": "500",
        "PERIOGT_TIMEOUT_S": "30",
        "PERIOGT_PREDICTORS": "2",
        "PERIOGT_GPU_SHARE": "0.5",
        "PERIOGT_FEATURIZERS": "7",
        "PERIOGT_CACHE_MB": "0",
        "PERIOGT_MAX_BODY_KB": "64",
    }
    assert Settings.from_env({"HOME": str(tmp_path), **given}).service == ServiceSettings(
        max_batch=32,
        batch_wait_s=0.0025,
        max_queue=500,
        timeout_s=30.0,
        n_predictors=2,
        gpu_share=0.5,
        n_featurizers=7,
        cache_bytes=0,
        max_body_bytes=64 << 10,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PERIOGT_MAX_BATCH", "0"),
        ("PERIOGT_MAX_QUEUE", "99"),
        ("PERIOGT_TIMEOUT_S", "soon"),
        ("PERIOGT_GPU_SHARE", "2"),
    ],
)
def test_bounds_of_the_service_are_checked(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        Settings.from_env({"HOME": str(tmp_path), name: value})
