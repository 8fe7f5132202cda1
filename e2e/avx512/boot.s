# The firmware of the emulated machine: enters Linux, which is in memory already, by its 64-bit boot protocol
# (Documentation/arch/x86/boot.rst). Given when assembled: memory, kernel (where it starts), ramdisk, ramdisk_size.
.code16
base: # struct boot_params
.org 0x1e8; .byte 2 # entries of the memory map
.org 0x1fe; .word 0xaa55
.org 0x202; .ascii "HdrS"; .word 0x20f
.org 0x210; .byte 0xff, 1 # a boot loader without a number, which loads high
.org 0x218; .long ramdisk, ramdisk_size
.org 0x228; .long command_line
.org 0x2d0; .quad 0, 0xa0000; .long 1; .quad 0x100000, memory - 0x100000; .long 1
.org 0x1000
command_line:
  .ascii "console=ttyS0,115200 loglevel=1 panic=-1 acpi=off 8250.nr_uarts=1 mitigations=off"
  .asciz " rodata=off initcall_blacklist=trace_eval_init" # neither is needed, and they would take two thirds of the start
.org 0x2000; .quad directory + 0x23 # the first gigabyte, mapped to itself and marked as used, which ROM could not be
.org 0x3000
directory: .quad 0xe3
segments: .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
segments_pointer: .word 31; .long segments
.org 0x4000
.globl start
start:
  lgdtl %cs:segments_pointer - base
  mov $base + 0x2000, %eax
  mov %eax, %cr3
  mov $0x20, %eax # PAE
  mov %eax, %cr4
  mov $0xc0000080, %ecx # EFER
  mov $0x100, %eax # LME
  xor %edx, %edx
  wrmsr
  mov $0x80000011, %eax # PG, ET, PE
  mov %eax, %cr0
  ljmpl $0x10, $long
.code64
long:
  mov $0x18, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $base, %esi
  mov $kernel, %eax
  jmp *%rax
.code16
.org 0xfff0
  ljmp $0xf000, $start - base # where a processor starts; before the jump, in the last bytes of 4 GiB
.org 0x10000
