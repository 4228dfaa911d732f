#include "textflag.h"

// func ReadTSC() Ticks
//
// LFENCE waits until every earlier load has its value, then RDTSC runs: the order that the kernel's own rdtsc_ordered relies
// on. Measured against RDTSCP and RDTSCP;LFENCE, it is the cheapest of the ordered reads.
TEXT ·ReadTSC(SB), NOSPLIT|NOFRAME, $0-8
	LFENCE
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+0(FP)
	RET

// func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT|NOFRAME, $0-24
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET
