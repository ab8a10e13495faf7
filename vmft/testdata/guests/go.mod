// Programs for the machine of vmft/rv64, built for linux/riscv64.

module guests

go 1.26
