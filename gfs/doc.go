// Package gfs is a replicated file system after the Google File System.
package gfs
