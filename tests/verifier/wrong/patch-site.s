# Linux's patch_site: an instruction named from .rodata, right behind a call.
	.include "frame.inc"
	begin	flushes
	bl	leaf
.Lsite:	nop
	bl	leaf
	end	flushes
	.section .rodata, "a"
	.globl	patch__flush
patch__flush:
	.4byte	.Lsite-.
