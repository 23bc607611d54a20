"""The clients that end-to-end tests use: boto3, command-line programs, and requests over bare sockets."""
