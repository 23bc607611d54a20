"""For tests: an S3 in memory that counts and fails as asked, and the contract that `S4FileSystem` keeps over every target."""

from s4fs.testing.fake_s3 import FakeS3, FakeS3FileSystem, Fault

__all__ = ["FakeS3", "FakeS3FileSystem", "Fault"]
