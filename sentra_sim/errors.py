"""The one exception tree of the lab.

```
SentraError              anything the lab says no to; the command line prints it as one line
├── InputError           the user's input is wrong: exit code 2
│   ├── ScenarioError    a scenario file breaks a rule of its schema
│   ├── RecordingError   a run folder is missing, foreign or cut off
│   └── CalibrationError the runs given cannot identify a twin
└── PlantError           a real component is missing, refused or died: exit code 3
    └── StackError       the local stack could not be started or reached
```

Every message reads *place: rule, got value; remedy*, so that one line is enough to act on.
"""


class SentraError(Exception):
    """Base of every error that the lab raises on purpose."""

    exit_code = 1


class InputError(SentraError):
    """The user's input breaks a rule; the message says where, which, and what to write instead."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario file breaks a rule of its schema."""


class RecordingError(InputError):
    """A run folder is missing, is not one, or is cut off."""


class CalibrationError(InputError):
    """The runs given do not identify the parameters of a twin."""


class PlantError(SentraError):
    """A real component is missing, refused or died during a run."""

    exit_code = 3


class StackError(PlantError):
    """The local stack could not be started, reached or stopped."""
