// Programs for the machine of vmft/rv64, built for linux/riscv64.

module guest

go 1.26
