// Process starts itself again, in several ways.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		child(os.Args[1:])
		return
	}
	out, err := exec.Command("/proc/self/exe", "say", "a", "b").CombinedOutput()
	fmt.Printf("said %q, %v\n", out, err)

	cmd := exec.Command("/proc/self/exe", "upper")
	cmd.Stdin = strings.NewReader(strings.Repeat("some text ", 20_000))
	out, err = cmd.Output()
	fmt.Println("upper", len(out), string(out[:10]), err, cmd.ProcessState.Pid() != os.Getpid())

	err = exec.Command("/proc/self/exe", "exit", "7").Run()
	var exit *exec.ExitError
	fmt.Println("exit", errors.As(err, &exit), exit.ExitCode())

	err = exec.Command("/proc/self/exe", "crash").Run()
	fmt.Println("crash", err)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	fmt.Println("killed", exec.CommandContext(ctx, "/proc/self/exe", "sleep").Run())

	_, err = exec.Command("/nowhere").Output()
	fmt.Println("missing", errors.Is(err, os.ErrNotExist))

	notify := make(chan os.Signal, 1)
	signal.Notify(notify, syscall.SIGUSR1)
	cmd = exec.Command("/proc/self/exe", "signal")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Dir, cmd.Env = "/tmp", []string{"WHO=child"}
	cmd.Stdout = os.Stdout
	err = cmd.Run()
	fmt.Println("signal", <-notify, err)

	var wg sync.WaitGroup
	results := make([]string, 8)
	for i := range results {
		wg.Go(func() {
			out, err := exec.Command("/proc/self/exe", "say", fmt.Sprint(i)).Output()
			results[i] = fmt.Sprintf("%s %v", bytes.TrimSpace(out), err)
		})
	}
	wg.Wait()
	fmt.Println(results)

	os.WriteFile("/tmp/script", []byte("#!/proc/self/exe say\nnothing\n"), 0o755)
	out, err = exec.Command("/tmp/script", "x").CombinedOutput()
	fmt.Printf("script %q, %v\n", out, err)

	syscall.Exec("/proc/self/exe", []string{"again", "say", "the", "last"}, nil)
}

func child(args []string) {
	switch args[0] {
	case "say":
		fmt.Println(strings.Join(args[1:], " "))
	case "upper":
		b, _ := io.ReadAll(os.Stdin)
		os.Stdout.Write(bytes.ToUpper(b))
	case "exit":
		os.Exit(int(args[1][0] - '0'))
	case "crash":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "sleep":
		time.Sleep(time.Hour)
	case "signal":
		dir, _ := os.Getwd()
		group, _ := syscall.Getpgid(0)
		fmt.Println("in", dir, os.Getenv("WHO"), group == os.Getpid())
		syscall.Kill(os.Getppid(), syscall.SIGUSR1)
	}
}
