"""Object stores the gateway can stand on: `s3`, `local` and `memory`, all behind `abc.Backend`."""
