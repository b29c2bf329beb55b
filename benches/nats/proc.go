package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Linux counts the CPU time of processes in these, on every architecture that Go knows.
const ticksPerSecond = 100

// cpuMicros is the user and system time of all threads of a process; of none, it is 0.
func cpuMicros(pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command's name may hold anything, so count from its end.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of process %d is cut", pid)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		value, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += value
	}
	return ticks * 1_000_000 / ticksPerSecond, nil
}

// privateBytes is what a process keeps in memory that belongs to no file.
func privateBytes(pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(rollup)) {
		if rest, found := strings.CutPrefix(line, "Anonymous:"); found {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("smaps_rollup of process %d has no line of anonymous memory", pid)
}
