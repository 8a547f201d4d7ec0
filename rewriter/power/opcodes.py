"""The instructions of the Power ISA: one table of what each writes, and of what it makes that.

The problem: proofs follow values through code, so of every instruction they must know which
registers it may write, what it stores, and, for the few that addresses are made of, what it
computes.  Told by lists of numbers, one for each question, the answers drift apart.

The rule: `TABLE` says each thing once and in the ISA's own words, and `power.semantics` reads
its answers off the rows.  An instruction that has no row is unknown, and may write anything.

The table has a chapter for each primary opcode (PO) and in it a section for each format:

    PO                the primary opcode alone tells which instruction it is
    PO 31             those with primary opcode 31
    MMIRR PO 59       prefixed instructions: the prefix's type, and the suffix's primary opcode
    [XO 22:30]        format XO; the rest of the opcode is in bits 22 to 30, counted as in the ISA
                      from the word's highest bit, which is 0
    [VX 21:31 11:15]  in two parts: 1538.28 is 1538 in bits 21 to 31 and 28 in bits 11 to 15

Below a heading stand assignments, each in front of the instructions that make it, by opcode.  What
they write, on the left, are

    RT RA             general registers, by the field that names them
    RTp               an even register and the next one; RT..R31: all from RT on; R0..R31: any
    SPR               a special register, of which LR and CTR matter here
    LK                LR, if the link bit is set, and then what a call may change
    BO                CTR, if the branch counts it down
    SC                what the system may change
    EVERYTHING        just that
    BF BT FXM         a field of the condition register, that of a bit, several
    CR0 CR6           always this field
    Rc                if the record bit is set CR0; for floating point CR1, for vectors CR6
    FRT VRT XT AT     registers of other kinds, in which no address is looked for
    MEM(RA0 + D, 4)   at most so many bytes from an address on; an address with an index may be
                      rounded down.  RA beside it gets the address.

Behind "=" stands the formula for it; RA0 is RA, or the number 0 where that field is 0.  Behind "<-"
are just the registers it depends on.  XER, FPSCR and their kin are left out on both sides.

Source: Power ISA 3.1, Book I, 1.6 (formats) and chapters 2 to 8, Book III for what only systems
use; Power ISA 2.07B for transactions and for what 3.0 dropped.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = """
PO
[I B D DQ M 0:5]
LK <-                           18 b
BO LK <- BO                     16 bc
<- RA                           2 tdi, 3 twi
RT = RA * SI                    7 mulli
RT <- RA                        8 subfic
BF = RA ? UI                    10 cmpli
BF = RA ? SI                    11 cmpi
RT = RA + SI                    12 addic
RT CR0 = RA + SI                13 addic.
RT = RA0 + SI                   14 addi
RT = RA0 + (SI << 16)           15 addis
RA = RS | UI                    24 ori
RA <- RS                        25 oris, 26 xori, 27 xoris
RA CR0 = RS & UI                28 andi.
RA CR0 <- RS                    29 andis.
RT = MEM(RA0 + D, 4)            32 lwz
RT RA = MEM(RA + D, 4)          33 lwzu
RT = MEM(RA0 + D, 1)            34 lbz
RT RA = MEM(RA + D, 1)          35 lbzu
MEM(RA0 + D, 4) = RS            36 stw
MEM(RA + D, 4) RA = RS          37 stwu
MEM(RA0 + D, 1) = RS            38 stb
MEM(RA + D, 1) RA = RS          39 stbu
RT = MEM(RA0 + D, 2)            40 lhz
RT RA = MEM(RA + D, 2)          41 lhzu
RT = EXTS(MEM(RA0 + D, 2))      42 lha
RT RA = EXTS(MEM(RA + D, 2))    43 lhau
MEM(RA0 + D, 2) = RS            44 sth
MEM(RA + D, 2) RA = RS          45 sthu
RT..R31 = MEM(RA0 + D, 128)     46 lmw
MEM(RA0 + D, 128) = RS..R31     47 stmw
FRT = MEM(RA0 + D, 4)           48 lfs
FRT RA = MEM(RA + D, 4)         49 lfsu
FRT = MEM(RA0 + D, 8)           50 lfd
FRT RA = MEM(RA + D, 8)         51 lfdu
MEM(RA0 + D, 4) = FRS           52 stfs
MEM(RA + D, 4) RA = FRS         53 stfsu
MEM(RA0 + D, 8) = FRS           54 stfd
MEM(RA + D, 8) RA = FRS         55 stfdu
RTp = MEM(RA0 + DQ, 16)         56 lq
RA Rc <- RS RA                  20 rlwimi
RA Rc = ROTL32(RS, SH) & MASK(MB, ME)  21 rlwinm
RA Rc <- RS RB                  23 rlwnm

PO 4
[VX 21 23:31 11:15]
VRT CR6 <- VRB
    1.385.2 bcdcfsq., 1.385.4 bcdctz., 1.385.6 bcdcfz., 1.385.7 bcdcfn., 1.385.31 bcdsetsgn.
[VC 22:31 11:15]
VRT Rc <- VRB                   13.0 vstribl, 13.1 vstribr, 13.2 vstrihl, 13.3 vstrihr
[VN 21:22 26:31]
VRT <- VRA VRB                  0.22 vsldbi, 1.22 vsrdbi
[VX 21 23:31]
VRT CR6 <- VRA VRB
    1.1 bcdadd., 1.65 bcdsub., 1.193 bcds., 1.257 bcdtrunc., 1.449 bcdsr.
[VX 21:31 11:15]
VRT CR6 <- VRB                  1409.0 bcdctsq., 1409.5 bcdctn.
VRT <- VRB
    1538.6 vnegw, 1538.7 vnegd, 1538.8 vprtybw, 1538.9 vprtybd, 1538.10 vprtybq, 1538.16 vextsb2w,
    1538.17 vextsh2w, 1538.24 vextsb2d, 1538.25 vextsh2d, 1538.26 vextsw2d, 1538.27 vextsd2q,
    1538.28 vctzb, 1538.29 vctzh, 1538.30 vctzw, 1538.31 vctzd, 1602.0 vexpandbm, 1602.1 vexpandhm,
    1602.2 vexpandwm, 1602.3 vexpanddm, 1602.4 vexpandqm
RT <- VRB
    1538.0 vclzlsbb, 1538.1 vctzlsbb, 1602.8 vextractbm, 1602.9 vextracthm, 1602.10 vextractwm,
    1602.11 vextractdm, 1602.12 vextractqm
VRT <- RB
    1602.16 mtvsrbm, 1602.17 mtvsrhm, 1602.18 mtvsrwm, 1602.19 mtvsrdm, 1602.20 mtvsrqm
[VX 21:31 11:14]
RT <- VRB                       1602.12 vcntmbb, 1602.13 vcntmbh, 1602.14 vcntmbw, 1602.15 vcntmbd
[VX 21:31]
VRT <- VRA VRB
    0 vaddubm, 2 vmaxub, 4 vrlb, 5 vrlq, 8 vmuloub, 10 vaddfp, 11 vdivuq, 12 vmrghb, 14 vpkuhum,
    64 vadduhm, 65 vmul10ecuq, 66 vmaxuh, 68 vrlh, 69 vrlqmi, 72 vmulouh, 74 vsubfp, 76 vmrghh,
    78 vpkuwum, 128 vadduwm, 130 vmaxuw, 132 vrlw, 133 vrlwmi, 136 vmulouw, 137 vmuluwm, 139 vdivuw,
    140 vmrghw, 142 vpkuhus, 192 vaddudm, 194 vmaxud, 196 vrld, 197 vrldmi, 200 vmuloud, 203 vdivud,
    206 vpkuwus, 256 vadduqm, 258 vmaxsb, 260 vslb, 261 vslq, 264 vmulosb, 267 vdivsq, 268 vmrglb,
    270 vpkshus, 320 vaddcuq, 322 vmaxsh, 324 vslh, 325 vrlqnm, 328 vmulosh, 332 vmrglh,
    334 vpkswus, 384 vaddcuw, 386 vmaxsw, 388 vslw, 389 vrlwnm, 392 vmulosw, 395 vdivsw, 396 vmrglw,
    398 vpkshss, 450 vmaxsd, 452 vsl, 453 vrldnm, 456 vmulosd, 457 vmulld, 459 vdivsd, 462 vpkswss,
    512 vaddubs, 514 vminub, 516 vsrb, 517 vsrq, 520 vmuleub, 523 vdiveuq, 576 vadduhs,
    577 vmul10euq, 578 vminuh, 580 vsrh, 584 vmuleuh, 640 vadduws, 642 vminuw, 644 vsrw,
    648 vmuleuw, 649 vmulhuw, 651 vdiveuw, 706 vminud, 708 vsr, 712 vmuleud, 713 vmulhud,
    715 vdiveud, 768 vaddsbs, 770 vminsb, 772 vsrab, 773 vsraq, 776 vmulesb, 779 vdivesq, 782 vpkpx,
    832 vaddshs, 834 vminsh, 836 vsrah, 840 vmulesh, 896 vaddsws, 898 vminsw, 900 vsraw,
    904 vmulesw, 905 vmulhsw, 907 vdivesw, 962 vminsd, 964 vsrad, 968 vmulesd, 969 vmulhsd,
    971 vdivesd, 1024 vsububm, 1026 vavgub, 1027 vabsdub, 1028 vand, 1032 vpmsumb, 1034 vmaxfp,
    1036 vslo, 1088 vsubuhm, 1090 vavguh, 1091 vabsduh, 1092 vandc, 1096 vpmsumh, 1098 vminfp,
    1100 vsro, 1102 vpkudum, 1152 vsubuwm, 1154 vavguw, 1155 vabsduw, 1156 vor, 1160 vpmsumw,
    1216 vsubudm, 1220 vxor, 1224 vpmsumd, 1230 vpkudus, 1280 vsubuqm, 1282 vavgsb, 1284 vnor,
    1288 vcipher, 1289 vcipherlast, 1344 vsubcuq, 1346 vavgsh, 1348 vorc, 1352 vncipher,
    1353 vncipherlast, 1356 vbpermq, 1357 vcfuged, 1358 vpksdus, 1408 vsubcuw, 1410 vavgsw,
    1412 vnand, 1421 vpextd, 1476 vsld, 1484 vbpermd, 1485 vpdepd, 1486 vpksdss, 1536 vsububs,
    1544 vsum4ubs, 1547 vmoduq, 1600 vsubuhs, 1608 vsum4shs, 1664 vsubuws, 1668 veqv, 1672 vsum2sws,
    1675 vmoduw, 1676 vmrgow, 1732 vsrd, 1739 vmodud, 1792 vsubsbs, 1796 vsrv, 1800 vsum4sbs,
    1803 vmodsq, 1856 vsubshs, 1860 vslv, 1920 vsubsws, 1924 vclzdm, 1928 vsumsws, 1931 vmodsw,
    1932 vmrgew, 1988 vctzdm, 1995 vmodsd
VRT CR6 <- VRA VRB              833 bcdcpsgn., 1153 bcdus., 1345 bcdutrunc.
VRT <- VRA
    1 vmul10cuq, 513 vmul10uq, 1480 vsbox, 1666 vshasigmaw, 1730 vshasigmad
VRT <- RA VRB
    15 vinsbvlx, 79 vinshvlx, 143 vinswvlx, 271 vinsbvrx, 335 vinshvrx, 399 vinswvrx
VRT <- RB                       207 vinsw, 463 vinsd
BF <- VRA VRB                   257 vcmpuq, 321 vcmpsq
VRT <- VRB
    266 vrefp, 330 vrsqrtefp, 394 vexptefp, 458 vlogefp, 522 vrfin, 524 vspltb, 525 vextractub,
    526 vupkhsb, 586 vrfiz, 588 vsplth, 589 vextractuh, 590 vupkhsh, 650 vrfip, 652 vspltw,
    653 vextractuw, 654 vupklsb, 714 vrfim, 717 vextractd, 718 vupklsh, 778 vcfux, 781 vinsertb,
    842 vcfsx, 845 vinserth, 846 vupkhpx, 906 vctuxs, 909 vinsertw, 970 vctsxs, 973 vinsertd,
    974 vupklpx, 1292 vgbbd, 1614 vupkhsw, 1742 vupklsw, 1794 vclzb, 1795 vpopcntb, 1858 vclzh,
    1859 vpopcnth, 1922 vclzw, 1923 vpopcntw, 1986 vclzd, 1987 vpopcntd
VRT <- VRA RB                   397 vclrlb, 461 vclrrb
VRT <- RA RB
    527 vinsblx, 591 vinshlx, 655 vinswlx, 719 vinsdlx, 783 vinsbrx, 847 vinshrx, 911 vinswrx,
    975 vinsdrx
VRT <-                          780 vspltisb, 844 vspltish, 908 vspltisw, 1540 mfvscr
RT <- VRB                       1228 vgnb
RT <- RA VRB
    1549 vextublx, 1613 vextuhlx, 1677 vextuwlx, 1805 vextubrx, 1869 vextuhrx, 1933 vextuwrx
<- VRB                          1604 mtvscr
[VC 22:31]
VRT Rc <- VRA VRB
    6 vcmpequb, 7 vcmpneb, 70 vcmpequh, 71 vcmpneh, 134 vcmpequw, 135 vcmpnew, 198 vcmpeqfp,
    199 vcmpequd, 263 vcmpnezb, 327 vcmpnezh, 391 vcmpnezw, 454 vcmpgefp, 455 vcmpequq,
    518 vcmpgtub, 582 vcmpgtuh, 646 vcmpgtuw, 647 vcmpgtuq, 710 vcmpgtfp, 711 vcmpgtud,
    774 vcmpgtsb, 838 vcmpgtsh, 902 vcmpgtsw, 903 vcmpgtsq, 966 vcmpbfp, 967 vcmpgtsd
[DX 26:30]
VRT <-                          10 mtvsrbmi
[VA 26:31]
VRT <- VRA VRB VRC
    23 vmsumcud, 32 vmhaddshs, 33 vmhraddshs, 34 vmladduhm, 35 vmsumudm, 36 vmsumubm, 37 vmsummbm,
    38 vmsumuhm, 39 vmsumuhs, 40 vmsumshm, 41 vmsumshs, 42 vsel, 43 vperm, 45 vpermxor, 59 vpermr,
    60 vaddeuqm, 61 vaddecuq, 62 vsubeuqm, 63 vsubecuq
VRT <- VRA VRB RC
    24 vextdubvlx, 25 vextdubvrx, 26 vextduhvlx, 27 vextduhvrx, 28 vextduwvlx, 29 vextduwvrx,
    30 vextddvlx, 31 vextddvrx
VRT <- VRA VRB                  44 vsldoi
VRT <- VRA VRC VRB              46 vmaddfp, 47 vnmsubfp
RT <- RA RB RC                  48 maddhd, 49 maddhdu, 51 maddld

PO 6
[DQ 28:31]
XTp = MEM(RA0 + DQ, 32)         0 lxvp
MEM(RA0 + DQ, 32) = XSp         1 stxvp

PO 17
[SC 30:31]
SC <-                           1 scv, 2 sc

PO 19
[XL 21:30]
BO LK <- BO LR                  16 bclr
BO LK <- BO CTR                 528 bcctr
BO LK <- BO TAR                 560 bctar
BF <- BFA                       0 mcrf
BT <- BA BB
    33 crnor, 129 crandc, 193 crxor, 225 crnand, 257 crand, 289 creqv, 417 crorc, 449 cror
<-
    18 rfid, 50 rfi, 82 rfscv, 146 rfebb, 150 isync, 274 hrfid, 306 urfid, 370 stop, 402 doze,
    434 nap, 466 sleep, 498 rvwinkle
[DX 26:30]
RT <-                           2 addpcis

PO 30
[MD 27:29]
RA Rc = ROTL64(RS, SH) & MASK(MB, 63)  0 rldicl
RA Rc = ROTL64(RS, SH) & MASK(0, ME)  1 rldicr
RA Rc = ROTL64(RS, SH) & MASK(MB, 63-SH)  2 rldic
RA Rc <- RS RA                  3 rldimi
[MDS 27:30]
RA Rc <- RS RB                  8 rldcl, 9 rldcr

PO 31
[XO 22:30]
RT Rc = RA + RB                 266 add
RT Rc = RB - RA                 40 subf
RT Rc <- RA RB
    8 subfc, 10 addc, 136 subfe, 138 adde, 233 mulld, 235 mullw, 393 divdeu, 395 divweu, 425 divde,
    427 divwe, 457 divdu, 459 divwu, 489 divd, 491 divw
RT Rc <- RA                     104 neg, 200 subfze, 202 addze, 232 subfme, 234 addme
[Z23 23:30]
RT <- RA RB                     170 addex
[A 26:30]
RT = CR(BC) ? RA0 : RB          15 isel
[XS 21:29]
RA Rc <- RS                     413 sradi
RA Rc = EXTS(RS, 32) << SH      445 extswsli
[X 21:30]
RT Rc <- RA RB                  9 mulhdu, 11 mulhwu, 73 mulhd, 75 mulhw
RT <- RA RB                     74 addg6s, 265 modud, 267 moduw, 777 modsd, 779 modsw
RA Rc = RS | RB                 444 or
RA Rc <- RS RB
    24 slw, 27 sld, 28 and, 60 andc, 124 nor, 284 eqv, 316 xor, 412 orc, 476 nand, 536 srw, 539 srd,
    792 sraw, 794 srad
RA Rc = EXTS(RS, 8)             954 extsb
RA Rc = EXTS(RS, 16)            922 extsh
RA Rc = EXTS(RS, 32)            986 extsw
RA Rc <- RS                     26 cntlzw, 58 cntlzd, 538 cnttzw, 570 cnttzd, 824 srawi
RA <- RS
    122 popcntb, 154 prtyw, 155 brw, 186 prtyd, 187 brd, 219 brh, 282 cdtbcd, 314 cbcdtd,
    378 popcntw, 506 popcntd
RA <- RS RB
    59 cntlzdm, 156 pdepd, 188 pextd, 220 cfuged, 252 bpermd, 508 cmpb, 571 cnttzdm
RA <- XS                        51 mfvsrd, 115 mfvsrwz, 307 mfvsrld
XT <- RA                        179 mtvsrd, 211 mtvsrwa, 243 mtvsrwz, 403 mtvsrws
XT <- RA0 RB                    435 mtvsrdd
BF = RA ? RB                    0 cmp, 32 cmpl
BF <- RA RB                     192 cmprb, 224 cmpeqb
<- RA RB                        4 tw, 68 td
BF <-                           512 mcrxr, 576 mcrxrx, 718 tcheck
FXM <- RS                       144 mtcrf
RT <-                           19 mfcr, 83 mfmsr, 302 mfbhrbe, 371 mftb, 595 mfsr, 755 darn
RT <- BFA                       128 setb
RT <- BI                        384 setbc, 416 setbcr, 448 setnbc, 480 setnbcr
RT = SPR                        339 mfspr
SPR = RS                        467 mtspr
RT = MEM(RA0 + RB, 1)           52 lbarx, 87 lbzx
RT RA = MEM(RA + RB, 1)         119 lbzux
RT = MEM(RA0 + RB, 2)           116 lharx, 279 lhzx
RT RA = MEM(RA + RB, 2)         311 lhzux
RT = EXTS(MEM(RA0 + RB, 2))     343 lhax
RT RA = EXTS(MEM(RA + RB, 2))   375 lhaux
RT = MEM(RA0 + RB, 4)           20 lwarx, 23 lwzx
RT RA = MEM(RA + RB, 4)         55 lwzux
RT = EXTS(MEM(RA0 + RB, 4))     341 lwax
RT RA = EXTS(MEM(RA + RB, 4))   373 lwaux
RT = MEM(RA0 + RB, 8)           21 ldx, 84 ldarx
RT RA = MEM(RA + RB, 8)         53 ldux
RT <- RA0 RB
    310 eciwx, 532 ldbrx, 534 lwbrx, 789 lwzcix, 790 lhbrx, 821 lhzcix, 853 lbzcix, 885 ldcix
RTp = MEM(RA0 + RB, 16)         276 lqarx
R0..R31 <- RA0 RB               533 lswx
R0..R31 <- RA0                  597 lswi
MEM(RA, 4) RT <- RA RT+1 RT+2   582 lwat
MEM(RA, 8) RT <- RA RT+1 RT+2   614 ldat
MEM(RA0 + RB, 1) = RS           215 stbx, 981 stbcix
MEM(RA + RB, 1) RA = RS         247 stbux
MEM(RA0 + RB, 2) = RS           407 sthx, 949 sthcix
MEM(RA + RB, 2) RA = RS         439 sthux
MEM(RA0 + RB, 4) = RS           151 stwx, 438 ecowx, 917 stwcix
MEM(RA + RB, 4) RA = RS         183 stwux
MEM(RA0 + RB, 8) = RS           149 stdx, 1013 stdcix
MEM(RA + RB, 8) RA = RS         181 stdux
MEM(RA0 + RB, 1) CR0 <- RS      694 stbcx.
MEM(RA0 + RB, 2) CR0 <- RS      726 sthcx.
MEM(RA0 + RB, 4) CR0 <- RS      150 stwcx.
MEM(RA0 + RB, 8) CR0 <- RS      214 stdcx.
MEM(RA0 + RB, 16) CR0 <- RSp    182 stqcx.
MEM(RA0 + RB, 2) <- RS          918 sthbrx
MEM(RA0 + RB, 4) <- RS          662 stwbrx
MEM(RA0 + RB, 8) <- RS          660 stdbrx
MEM(RA0 + RB, 128) <- R0..R31   661 stswx
MEM(RA0, 32) <- R0..R31         725 stswi
MEM(RA, 4) <- RS                710 stwat
MEM(RA, 8) <- RS                742 stdat
MEM(RA + DX, 8) <- RA RB        658 hashstp, 722 hashst
<- RA RB                        690 hashchkp, 754 hashchk
MEM(RA0 + RB, 128) <-           758 dcba, 1014 dcbz
<- RA0 RB
    22 icbt, 54 dcbst, 86 dcbf, 246 dcbtst, 278 dcbt, 342 dst, 374 dstst, 470 dcbi, 774 copy,
    982 icbi
CR0 <- RA0 RB                   902 paste.
FRT = MEM(RA0 + RB, 4)          535 lfsx, 855 lfiwax, 887 lfiwzx
FRT RA = MEM(RA + RB, 4)        567 lfsux
FRT = MEM(RA0 + RB, 8)          599 lfdx
FRT RA = MEM(RA + RB, 8)        631 lfdux
FRTp = MEM(RA0 + RB, 16)        791 lfdpx
MEM(RA0 + RB, 4) = FRS          663 stfsx, 983 stfiwx
MEM(RA + RB, 4) RA = FRS        695 stfsux
MEM(RA0 + RB, 8) = FRS          727 stfdx
MEM(RA + RB, 8) RA = FRS        759 stfdux
MEM(RA0 + RB, 16) = FRSp        919 stfdpx
VRT <- RA0 RB                   6 lvsl, 38 lvsr
VRT = MEM(RA0 + RB, 16)         7 lvebx, 39 lvehx, 71 lvewx, 103 lvx, 359 lvxl
MEM(RA0 + RB, 16) = VRS         135 stvebx, 167 stvehx, 199 stvewx, 231 stvx, 487 stvxl
XT = MEM(RA0 + RB, 1)           13 lxvrbx, 781 lxsibzx
XT = MEM(RA0 + RB, 2)           45 lxvrhx, 813 lxsihzx
XT = MEM(RA0 + RB, 4)           12 lxsiwzx, 76 lxsiwax, 77 lxvrwx, 364 lxvwsx, 524 lxsspx
XT = MEM(RA0 + RB, 8)           109 lxvrdx, 332 lxvdsx, 588 lxsdx
XT = MEM(RA0 + RB, 16)          268 lxvx, 780 lxvw4x, 812 lxvh8x, 844 lxvd2x, 876 lxvb16x
XTp = MEM(RA0 + RB, 32)         333 lxvpx
XT <- RA0 RB                    269 lxvl, 301 lxvll
MEM(RA0 + RB, 1) = XS           141 stxvrbx, 909 stxsibx
MEM(RA0 + RB, 2) = XS           173 stxvrhx, 941 stxsihx
MEM(RA0 + RB, 4) = XS           140 stxsiwx, 205 stxvrwx, 652 stxsspx
MEM(RA0 + RB, 8) = XS           237 stxvrdx, 716 stxsdx
MEM(RA0 + RB, 16) = XS          396 stxvx, 908 stxvw4x, 940 stxvh8x, 972 stxvd2x, 1004 stxvb16x
MEM(RA0 + RB, 32) = XSp         461 stxvpx
MEM(RA0, 16) <- XS RB           397 stxvl, 429 stxvll
<- RS                           82 mtsrd, 146 mtmsr, 178 mtmsrd, 210 mtsr, 850 slbiag
<- RS RB
    114 mtsrdin, 242 mtsrin, 274 tlbiel, 306 tlbie, 402 slbmte, 466 slbieg
<- RB
    78 msgsndu, 110 msgclru, 142 msgsndp, 174 msgclrp, 206 msgsnd, 238 msgclr, 434 slbie, 882 rmieg,
    978 tlbld, 1010 tlbli
RT <- RB                        659 mfsrin, 851 slbmfev, 915 slbmfee
RT CR0 <- RB                    979 slbfee.
<-
    30 wait, 147 mtsle, 338 slbsync, 370 tlbia, 430 clrbhrb, 498 slbia, 566 tlbsync, 598 sync,
    822 dss, 838 cpabort, 854 eieio, 886 msgsync
CR0 <-                          654 tbegin., 686 tend., 750 tsr., 1006 trechkpt.
CR0 <- RA                       846 tabortwci., 878 tabortdci., 910 tabort.
CR0 <- RA RB                    782 tabortwc., 814 tabortdc.
EVERYTHING <- RA                942 treclaim.
[X 21:30 11:15]
AT <-                           177.0 xxmfacc, 177.1 xxmtacc, 177.3 xxsetaccz

PO 57
[DS 30:31]
FRTp = MEM(RA0 + DS, 16)        0 lfdp
VRT = MEM(RA0 + DS, 8)          2 lxsd
VRT = MEM(RA0 + DS, 4)          3 lxssp

PO 58
[DS 30:31]
RT = MEM(RA0 + DS, 8)           0 ld
RT RA = MEM(RA + DS, 8)         1 ldu
RT = EXTS(MEM(RA0 + DS, 4))     2 lwa

PO 59
[X 21:30]
FRT Rc <- FRA FRB
    2 dadd, 18 fdivs, 20 fsubs, 21 fadds, 34 dmul, 514 dsub, 546 ddiv, 866 diex
FRT Rc <- FRB
    22 fsqrts, 24 fres, 26 frsqrtes, 258 dctdp, 290 dctfix, 322 ddedpd, 354 dxex, 770 drsp,
    802 dcffix, 834 denbcd, 846 fcfids, 974 fcfidus
BF <- FRA FRB                   130 dcmpo, 162 dtstex, 642 dcmpu, 674 dtstsf
BF <- FRB                       675 dtstsfi
[Z23 23:30]
FRT Rc <- FRA FRB               3 dqua, 35 drrnd
FRT Rc <- FRB                   67 dquai, 99 drintx, 227 drintn
[XX3 21:28]
AT <- XA XB
    2 xvi8ger4pp, 3 xvi8ger4, 18 xvf16ger2pp, 19 xvf16ger2, 26 xvf32gerpp, 27 xvf32ger,
    34 xvi4ger8pp, 35 xvi4ger8, 42 xvi16ger2spp, 43 xvi16ger2s, 50 xvbf16ger2pp, 51 xvbf16ger2,
    58 xvf64gerpp, 59 xvf64ger, 75 xvi16ger2, 82 xvf16ger2np, 90 xvf32gernp, 99 xvi8ger4spp,
    107 xvi16ger2pp, 114 xvbf16ger2np, 122 xvf64gernp, 146 xvf16ger2pn, 154 xvf32gerpn,
    178 xvbf16ger2pn, 186 xvf64gerpn, 210 xvf16ger2nn, 218 xvf32gernn, 242 xvbf16ger2nn,
    250 xvf64gernn
[A 26:30]
FRT Rc <- FRA FRC               25 fmuls
FRT Rc <- FRA FRC FRB           28 fmsubs, 29 fmadds, 30 fnmsubs, 31 fnmadds
[Z22 22:30]
FRT Rc <- FRA                   66 dscli, 98 dscri
BF <- FRA                       194 dtstdc, 226 dtstdg

PO 60
[XX3 21 24:28]
XT <- XA XB                     0.2 xxsldwi, 0.10 xxpermdi
[X 21:30 11:12]
XT <-                           360.0 xxspltib
[X 21:30 11:15]
XT <-                           360.31 lxvkq
[XX2 21:29 11:15]
RT <- XB                        347.0 xsxexpdp, 347.1 xsxsigdp
XT <- XB
    347.16 xscvhpdp, 347.17 xscvdphp, 475.0 xvxexpdp, 475.1 xvxsigdp, 475.7 xxbrh, 475.8 xvxexpsp,
    475.9 xvxsigsp, 475.15 xxbrw, 475.16 xvcvbf16spn, 475.17 xvcvspbf16, 475.23 xxbrd,
    475.24 xvcvhpsp, 475.25 xvcvsphp, 475.31 xxbrq
BF <- XB                        475.2 xvtlsbb
[XX2 21:24 26:28]
XT <- XB                        13.5 xvtstdcsp, 15.5 xvtstdcdp
[XX3 21:28]
XT <- XA XB
    0 xsaddsp, 1 xsmaddasp, 3 xscmpeqdp, 8 xssubsp, 9 xsmaddmsp, 11 xscmpgtdp, 16 xsmulsp,
    17 xsmsubasp, 18 xxmrghw, 19 xscmpgedp, 24 xsdivsp, 25 xsmsubmsp, 26 xxperm, 32 xsadddp,
    33 xsmaddadp, 40 xssubdp, 41 xsmaddmdp, 48 xsmuldp, 49 xsmsubadp, 50 xxmrglw, 56 xsdivdp,
    57 xsmsubmdp, 58 xxpermr, 64 xvaddsp, 65 xvmaddasp, 72 xvsubsp, 73 xvmaddmsp, 80 xvmulsp,
    81 xvmsubasp, 88 xvdivsp, 89 xvmsubmsp, 96 xvadddp, 97 xvmaddadp, 104 xvsubdp, 105 xvmaddmdp,
    112 xvmuldp, 113 xvmsubadp, 120 xvdivdp, 121 xvmsubmdp, 128 xsmaxcdp, 129 xsnmaddasp,
    130 xxland, 136 xsmincdp, 137 xsnmaddmsp, 138 xxlandc, 144 xsmaxjdp, 145 xsnmsubasp, 146 xxlor,
    152 xsminjdp, 153 xsnmsubmsp, 154 xxlxor, 160 xsmaxdp, 161 xsnmaddadp, 162 xxlnor, 168 xsmindp,
    169 xsnmaddmdp, 170 xxlorc, 176 xscpsgndp, 177 xsnmsubadp, 178 xxlnand, 185 xsnmsubmdp,
    186 xxleqv, 192 xvmaxsp, 193 xvnmaddasp, 200 xvminsp, 201 xvnmaddmsp, 208 xvcpsgnsp,
    209 xvnmsubasp, 216 xviexpsp, 217 xvnmsubmsp, 224 xvmaxdp, 225 xvnmaddadp, 232 xvmindp,
    233 xvnmaddmdp, 240 xvcpsgndp, 241 xvnmsubadp, 248 xviexpdp, 249 xvnmsubmdp
BF <- XA XB
    35 xscmpudp, 43 xscmpodp, 59 xscmpexpdp, 61 xstdivdp, 93 xvtdivsp, 125 xvtdivdp
[XX2 21:29]
XT <- XB
    10 xsrsqrtesp, 11 xssqrtsp, 26 xsresp, 72 xscvdpuxws, 73 xsrdpi, 74 xsrsqrtedp, 75 xssqrtdp,
    88 xscvdpsxws, 89 xsrdpiz, 90 xsredp, 105 xsrdpip, 107 xsrdpic, 121 xsrdpim, 136 xvcvspuxws,
    137 xvrspi, 138 xvrsqrtesp, 139 xvsqrtsp, 152 xvcvspsxws, 153 xvrspiz, 154 xvresp, 164 xxspltw,
    165 xxextractuw, 168 xvcvuxwsp, 169 xvrspip, 171 xvrspic, 181 xxinsertw, 184 xvcvsxwsp,
    185 xvrspim, 200 xvcvdpuxws, 201 xvrdpi, 202 xvrsqrtedp, 203 xvsqrtdp, 216 xvcvdpsxws,
    217 xvrdpiz, 218 xvredp, 232 xvcvuxwdp, 233 xvrdpip, 235 xvrdpic, 248 xvcvsxwdp, 249 xvrdpim,
    265 xscvdpsp, 267 xscvdpspn, 281 xsrsp, 296 xscvuxdsp, 312 xscvsxdsp, 328 xscvdpuxds,
    329 xscvspdp, 331 xscvspdpn, 344 xscvdpsxds, 345 xsabsdp, 360 xscvuxddp, 361 xsnabsdp,
    376 xscvsxddp, 377 xsnegdp, 392 xvcvspuxds, 393 xvcvdpsp, 408 xvcvspsxds, 409 xvabssp,
    424 xvcvuxdsp, 425 xvnabssp, 440 xvcvsxdsp, 441 xvnegsp, 456 xvcvdpuxds, 457 xvcvspdp,
    472 xvcvdpsxds, 473 xvabsdp, 488 xvcvuxddp, 489 xvnabsdp, 504 xvcvsxddp, 505 xvnegdp
BF <- XB
    106 xstsqrtdp, 170 xvtsqrtsp, 234 xvtsqrtdp, 298 xststdcsp, 362 xststdcdp
[XX4 26:27]
XT <- XA XB XC                  3 xxsel
[XX3 22:28]
XT Rc <- XA XB
    67 xvcmpeqsp, 75 xvcmpgtsp, 83 xvcmpgesp, 99 xvcmpeqdp, 107 xvcmpgtdp, 115 xvcmpgedp
[X 21:30]
XT <- VRB                       916 xxgenpcvbm, 917 xxgenpcvhm, 948 xxgenpcvwm, 949 xxgenpcvdm
XT <- RA RB                     918 xsiexpdp

PO 61
[DS 30:31]
MEM(RA0 + DS, 16) = FRSp        0 stfdp
MEM(RA0 + DS, 8) = VRS          2 stxsd
MEM(RA0 + DS, 4) = VRS          3 stxssp
[DQ 29:31]
XT = MEM(RA0 + DQ, 16)          1 lxv
MEM(RA0 + DQ, 16) = XS          5 stxv

PO 62
[DS 30:31]
MEM(RA0 + DS, 8) = RS           0 std
MEM(RA + DS, 8) RA = RS         1 stdu
MEM(RA0 + DS, 16) = RSp         2 stq

PO 63
[X 21:30 11:15]
FRT Rc <-                       583.0 mffs
FRT <-                          583.1 mffsce, 583.21 mffscdrni, 583.23 mffscrni, 583.24 mffsl
FRT <- FRB                      583.20 mffscdrn, 583.22 mffscrn
VRT <- VRB
    804.0 xsabsqp, 804.2 xsxexpqp, 804.8 xsnabsqp, 804.16 xsnegqp, 804.18 xsxsigqp, 804.27 xssqrtqp,
    836.0 xscvqpuqz, 836.1 xscvqpuwz, 836.2 xscvudqp, 836.3 xscvuqqp, 836.8 xscvqpsqz,
    836.9 xscvqpswz, 836.10 xscvsdqp, 836.11 xscvsqqp, 836.17 xscvqpudz, 836.20 xscvqpdp,
    836.22 xscvdpqp, 836.25 xscvqpsdz
FRT <- VRB                      994.0 dcffixqq
VRT <- FRB                      994.1 dctfixqq
[X 21:30]
BF <- FRA FRB
    0 fcmpu, 32 fcmpo, 128 ftdiv, 130 dcmpoq, 162 dtstexq, 642 dcmpuq, 674 dtstsfq
FRT Rc <- FRA FRB
    2 daddq, 8 fcpsgn, 18 fdiv, 20 fsub, 21 fadd, 34 dmulq, 514 dsubq, 546 ddivq, 866 diexq
VRT <- VRA VRB
    4 xsaddqp, 36 xsmulqp, 68 xscmpeqqp, 100 xscpsgnqp, 196 xscmpgeqp, 228 xscmpgtqp, 388 xsmaddqp,
    420 xsmsubqp, 452 xsnmaddqp, 484 xsnmsubqp, 516 xssubqp, 548 xsdivqp, 676 xsmaxcqp,
    740 xsmincqp, 868 xsiexpqp
FRT Rc <- FRB
    12 frsp, 14 fctiw, 15 fctiwz, 22 fsqrt, 24 fre, 26 frsqrte, 40 fneg, 72 fmr, 136 fnabs,
    142 fctiwu, 143 fctiwuz, 258 dctqpq, 264 fabs, 290 dctfixq, 322 ddedpdq, 354 dxexq, 392 frin,
    424 friz, 456 frip, 488 frim, 770 drdpq, 802 dcffixq, 814 fctid, 815 fctidz, 834 denbcdq,
    846 fcfid, 942 fctidu, 943 fctiduz, 974 fcfidu
Rc <-                           38 mtfsb1, 70 mtfsb0, 134 mtfsfi
BF <- BFA                       64 mcrfs
BF <- VRA VRB                   132 xscmpoqp, 164 xscmpexpqp, 644 xscmpuqp
BF <- FRB                       160 ftsqrt, 675 dtstsfiq
BF <- VRB                       708 xststdcqp
Rc <- FRB                       711 mtfsf
FRT <- FRA FRB                  838 fmrgow, 966 fmrgew
[Z23 23:30]
FRT Rc <- FRA FRB               3 dquaq, 35 drrndq
VRT <- VRB                      5 xsrqpi, 37 xsrqpxp
FRT Rc <- FRB                   67 dquaiq, 99 drintxq, 227 drintnq
[A 26:30]
FRT Rc <- FRA FRC FRB           23 fsel, 28 fmsub, 29 fmadd, 30 fnmsub, 31 fnmadd
FRT Rc <- FRA FRC               25 fmul
[Z22 22:30]
FRT Rc <- FRA                   66 dscliq, 98 dscriq
BF <- FRA                       194 dtstdcq, 226 dtstdgq

8LS PO
[D 0:5]
RT = EXTS(MEM(RA0 + D, 4))      41 plwa
RT = MEM(RA0 + D, 8)            57 pld
RTp = MEM(RA0 + D, 16)          56 plq
VRT = MEM(RA0 + D, 8)           42 plxsd
VRT = MEM(RA0 + D, 4)           43 plxssp
XTp = MEM(RA0 + D, 32)          58 plxvp
MEM(RA0 + D, 8) = RS            61 pstd
MEM(RA0 + D, 16) = RSp          60 pstq
MEM(RA0 + D, 8) = VRS           46 pstxsd
MEM(RA0 + D, 4) = VRS           47 pstxssp
MEM(RA0 + D, 32) = XSp          62 pstxvp
[D 0:4]
XT = MEM(RA0 + D, 16)           25 plxv
MEM(RA0 + D, 16) = XS           27 pstxv

MLS PO
[D 0:5]
RT = RA0 + SI                   14 paddi
RT = MEM(RA0 + D, 4)            32 plwz
RT = MEM(RA0 + D, 1)            34 plbz
RT = MEM(RA0 + D, 2)            40 plhz
RT = EXTS(MEM(RA0 + D, 2))      42 plha
FRT = MEM(RA0 + D, 4)           48 plfs
FRT = MEM(RA0 + D, 8)           50 plfd
MEM(RA0 + D, 4) = RS            36 pstw
MEM(RA0 + D, 1) = RS            38 pstb
MEM(RA0 + D, 2) = RS            44 psth
MEM(RA0 + D, 4) = FRS           52 pstfs
MEM(RA0 + D, 8) = FRS           54 pstfd

MRR PO
[* 0:0]
<-                              0 pnop, 1 pnop

8RR PO 32
[D 11:13]
XT <-                           0 xxsplti32dx
[D 11:14]
XT <-                           2 xxspltidp, 3 xxspltiw

8RR PO 33
[XX4 26:27]
XT <- XA XB XC                  0 xxblendvb, 1 xxblendvh, 2 xxblendvw, 3 xxblendvd

8RR PO 34
[XX4 26:27]
XT <- XA XB XC                  0 xxpermx, 1 xxeval

MMIRR PO 59
[XX3 21:28]
AT <- XA XB
    2 pmxvi8ger4pp, 3 pmxvi8ger4, 18 pmxvf16ger2pp, 19 pmxvf16ger2, 26 pmxvf32gerpp, 27 pmxvf32ger,
    34 pmxvi4ger8pp, 35 pmxvi4ger8, 42 pmxvi16ger2spp, 43 pmxvi16ger2s, 50 pmxvbf16ger2pp,
    51 pmxvbf16ger2, 58 pmxvf64gerpp, 59 pmxvf64ger, 75 pmxvi16ger2, 82 pmxvf16ger2np,
    90 pmxvf32gernp, 99 pmxvi8ger4spp, 107 pmxvi16ger2pp, 114 pmxvbf16ger2np, 122 pmxvf64gernp,
    146 pmxvf16ger2pn, 154 pmxvf32gerpn, 178 pmxvbf16ger2pn, 186 pmxvf64gerpn, 210 pmxvf16ger2nn,
    218 pmxvf32gernn, 242 pmxvbf16ger2nn, 250 pmxvf64gernn
"""


class Row(Record):
    """What the table says of an instruction.

    ``writes`` are the registers, by their names in the table; ``store`` is the inside of the MEM
    that is written, ``formula`` what stands behind "=", both empty where there is none; ``reads``
    is the text in which everything is named that the instruction depends on.
    """

    mnemonic: str
    writes: tuple[str, ...]
    store: str
    formula: str
    reads: str


class Section(Record):
    """What stands below a heading: ``text``, each row on one line.

    ``mask`` are the bits that hold the rest of the opcode, and ``parts`` says of each part how far
    it is from the right end of the word, and as a mask how wide.  ``rows`` are those that were
    asked for, by these bits; None where there is none.
    """

    mask: int
    parts: Sequence[tuple[int, int]]
    text: str
    rows: dict[int, Row | None]


_PREFIXES = {
    0b00_0000: "8LS",
    0b00_0001: "8LS",
    0b01_0000: "8RR",
    0b10_0000: "MLS",
    0b10_0001: "MLS",
    0b11_0000: "MRR",
    0b11_1001: "MMIRR",
}
"""Prefixes by bits 6 to 11: their type and subtype, and for the LS ones whether they use the PC."""

# Chapters and rows are read when they are asked for: an object has a few dozen different
# instructions, and reading all of the table takes a tenth of the time that a small object takes.
_chapters: dict[str, str] = {}
_known: dict[str, list[Section]] = {}
_UNREAD = Row("", (), "", "", "")


def find(word: int) -> Row | None:
    """The row of the unprefixed instruction ``word``, None if there is none."""
    return _find(_UNPREFIXED[word >> 26], word)


def find_prefixed(prefix: int, suffix: int) -> Row | None:
    """The row of a prefixed instruction, None if there is none."""
    kind = _PREFIXES.get(prefix >> 20 & 63, "reserved")
    return _find(f"{kind} PO {suffix >> 26}", suffix)


def _find(chapter: str, word: int) -> Row | None:
    for section in _known.get(chapter) or _sections(chapter):
        bits = word & section.mask
        row = section.rows.get(bits, _UNREAD)
        if row is _UNREAD:
            row = section.rows[bits] = _row(section, bits)
        if row is not None:
            return row
    return None


_UNPREFIXED = [f"PO {primary}" for primary in range(64)]


def _sections(chapter: str) -> list[Section]:
    """The sections of a chapter; where it isn't there, the primary opcode tells alone."""
    if not _chapters:
        # All at once: a worker of `nopfix-serve` may be interrupted anywhere, and goes on later.
        chapters = [text.partition("\n") for text in TABLE.strip().split("\n\n")]
        _chapters.update({name: sections for name, _, sections in chapters})
    if chapter not in _chapters and chapter[-1].isdigit():
        shared = chapter.rpartition(" ")[0]
        _known[chapter] = _known.get(shared) or _sections(shared)
        return _known[chapter]
    found = []
    for section in f"\n{_chapters.get(chapter, '')}".split("\n[")[1:]:
        heading, _, lines = section.partition("]\n")
        mask = 0
        parts = []
        for field in heading.split():
            if field[0].isdigit():
                first, _, last = field.rpartition(":")
                width = (2 << int(last) - int(first or last)) - 1
                parts.append((31 - int(last), width))
                mask |= width << 31 - int(last)
        found.append(Section(mask, parts, lines.replace("\n    ", "  ") + "\n", {}))
    _known[chapter] = found
    return found


def _row(section: Section, bits: int) -> Row | None:
    """The row with these bits in its opcode."""
    text = section.text
    opcode = ".".join([str(bits >> shift & width) for shift, width in section.parts])
    at = text.find(f" {opcode} ")
    if at < 0:
        return None
    mnemonic = text[at + len(opcode) + 2 : text.index("\n", at)].partition(",")[0]
    start = text.rfind("\n", 0, at) + 1
    left, _, formula = text[start : text.index("  ", start)].partition("=")
    left, _, reads = left.partition("<-")
    store = ""
    if left.startswith("MEM("):
        store, _, left = left[4:].partition(")")
    return Row(mnemonic, tuple(left.split()), store, formula.strip(), f"{reads}{formula} {store}")
