//go:build !unix

package main

import "os"

const noFollow = 0

func tryLock(*os.File) error { return nil }
