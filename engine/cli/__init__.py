"""The command line: `ringtrack COMMAND`.

Results go to stdout (as JSON with `--json`), talk goes to stderr. Exit status: 0 done; 1 our fault; 2 wrong usage or
settings; 3 the machine, or the other side, is not fit; 4 the run ended, but with losses above its limit or a part that
stayed dead; 130 stopped by force. A command's module is imported when that command is used.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module

import click

from engine.errors import RingtrackError

# name: module, and what `ringtrack --help` says of it, so that help imports none of them
COMMANDS = {
    "demo": ("engine.cli.demo", "Track a simulated camera, live, and compare with the truth."),
    "init": ("engine.cli.init", "Write a settings file with a comment on every key."),
    "check": ("engine.cli.check", "Say what a settings file means on this machine."),
    "doctor": ("engine.cli.doctor", "Look at this machine: is it fit to track?"),
    "run": ("engine.cli.run", "Run an experiment."),
    "send": ("engine.cli.send", "Send frames from here to a run, from any operating system."),
    "archive": ("engine.cli.archive", "Make camera files a lossless, verified JPEG XL archive."),
    "replay": ("engine.cli.replay", "Send recorded frames again, as if the camera were running."),
    "status": ("engine.cli.status", "Show the runs on this machine."),
    "stop": ("engine.cli.stop", "End a run in order."),
    "preview": ("engine.cli.preview", "Draw what the settings find in a frame, and propose better ones."),
    "calibrate": ("engine.cli.calibrate", "Make dark, flat, background and bad-pixel files from frames."),
    "monitor": ("engine.cli.monitor", "Look at a run in a window, and steer it."),
    "set": ("engine.cli.set", "Change settings of a run while it goes on."),
    "slm": ("engine.cli.slm", "Hold and move particles with light."),
    "keys": ("engine.cli.keys", "Make the keys that let other computers steer a run."),
    "record": ("engine.cli.record", "Start, stop or pause recording while tracking goes on."),
    "mark": ("engine.cli.mark", "Mark this moment in a run's events; a rule may wait for it."),
    "note": ("engine.cli.note", "Write a remark into a run's events."),
    "report": ("engine.cli.report", "Write one HTML file about a finished run."),
    "export": ("engine.cli.export", "Write a run's tracks or frames for another program."),
    "runs": ("engine.cli.runs", "List the runs under a folder."),
    "copy": ("engine.cli.copy", "Copy a run to another disk, and prove the copy equal."),
    "inspect": ("engine.cli.inspect", "Say what is in a finished run, and whether it is whole."),
}
STOPPED_BY_FORCE = 130


class _Commands(click.Group):
    """Commands that are imported when they are used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = import_module(COMMANDS[name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            from engine.type_words import nearest_name

            near = nearest_name(args[0], COMMANDS)
            hint = f"Nearest: {near}." if near else "See ringtrack --help."
            raise click.UsageError(f"{args[0]}: no such command. {hint}", error.ctx) from None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"ringtrack {version('ringtrack')}")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show where in the program an error came from.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def group(debug: bool) -> None:
    """Track particles in camera frames while they arrive, and lose none in silence."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and leave the process with the status of the table above."""
    sys.exit(status_of(sys.argv[1:] if args is None else args))


def status_of(args: list[str]) -> int:
    """Run the command line; one clear message for anything that goes wrong. Returns the exit status."""
    debug = "--debug" in args[:1]
    try:
        status = group.main(args=args, prog_name="ringtrack", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        see = f" See {error.ctx.command_path} --help." if error.ctx is not None and error.ctx.parent else ""
        return _failed(error.format_message() + see, 2, debug)
    except click.ClickException as error:
        return _failed(error.format_message(), 2, debug)
    except RingtrackError as error:
        return _failed(str(error), error.exit_status, debug)
    except (KeyboardInterrupt, click.Abort):
        return _failed("stopped by force", STOPPED_BY_FORCE, debug)
    except BrokenPipeError:
        sys.stdout = None  # the reader of our output left; nothing more to say to it
        return 0
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("engine", "bridge", "recorders"):
            return _failed(f"this installation has no {error.name}", 1, debug)
        return _failed(f"the Python package {missing} is missing here. Try: pip install {missing}", 3, debug)
    except MemoryError:
        return _failed("out of memory", 3, debug)
    except Exception as error:
        again = " ".join(args).removeprefix("--debug ")
        about = f"internal error, our fault: {type(error).__name__}: {error}. Try: ringtrack --debug {again}"
        return _failed(about, 1, debug)


def _failed(message: str, status: int, debug: bool) -> int:
    click.echo(f"ringtrack: {message}", err=True)
    if debug:
        traceback.print_exc()
    return status
